// All pairs of a list in O(n log n): a merge sort by score that sums pairs where it merges.
//
// In label order, groups of equal labels lie one behind the other. Groups are gathered into leaves
// of at most kLeaf items, whose pairs are summed one by one; every leaf is sorted by score. Then
// neighbouring runs are merged two by two until one is left, and each merger sums the pairs of
// its two runs, one of lower, one of higher labels (pair_sweep.h): ⌈log₂ K⌉ passes for K runs,
// every pair exactly once, with a few grades as with n different labels. Work is dealt out by
// ranges of items, never by threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "engines/label_order.h"
#include "engines/pair_loop.h"
#include "engines/pair_sweep.h"

namespace fastloss {

template <class Loss>
class SortedPairs {
 public:
  using T = typename Loss::Value;
  using Sums = std::conditional_t<Loss::kLogistic, ExponentialSums<T>, NoExponentials>;

  // Where one more pass costs what the pairs of a leaf twice as long cost more: a pass takes about
  // 20 ns an item; a pair 1 ns or less, but a logistic one in double 3 ns.
  static constexpr int64_t kLeaf = Loss::kLogistic && sizeof(T) == sizeof(double) ? 16 : 64;

  SortedPairs(const Loss& loss, const LabelOrder<T>& order)
      : loss_(loss),
        order_(order),
        form_(loss.sweep()),
        origin_(common_offset(order.items())),
        items_(order.items().count),
        merged_(order.items().count) {}

  // Σ over all pairs; unless null, adds their derivatives to gradient, in label order.
  double sum(double* gradient) {
    const int64_t n = order_.items().count;
    const host::Buffer<double> sweeps(gradient != nullptr ? n : 0, 0.0);
    sweep_gradient_ = gradient != nullptr ? sweeps.data() : nullptr;
    double total = leaves(gradient);
    double swept = ties();
    while (runs_.size() > 2) swept += level();
    const double scale = form_.factor * form_.slope;
    for (int64_t i = 0; gradient != nullptr && i < n; ++i) gradient[i] += scale * sweeps[i];
    return total + form_.factor * swept;
  }

 private:
  static constexpr int64_t kTask = 4096;  // items in a task
  // From here on the library sorts integers digit by digit, several times faster than by comparing.
  static constexpr int64_t kSortAtOnce = 1 << 15;

  // Calls work(first, last) for runs of consecutive ranges [starts[i], starts[i + 1]) that hold
  // about kTask items together.
  template <class Work>
  static void for_ranges(const std::vector<int64_t>& starts, const Work& work) {
    std::vector<int64_t> cuts{0};
    const auto count = static_cast<int64_t>(starts.size()) - 1;
    for (int64_t i = 0; i < count; ++i) {
      if (starts[i + 1] - starts[cuts.back()] >= kTask) cuts.push_back(i + 1);
    }
    if (cuts.back() < count) cuts.push_back(count);
    host::for_each_task(static_cast<int64_t>(cuts.size()) - 1,
                        [&](int64_t task, int64_t) { work(cuts[task], cuts[task + 1]); });
  }

  // Leaves, their own pairs, their order by score. Leaves `runs_` as their starts and the end.
  double leaves(double* gradient) {
    const int64_t n = order_.items().count;
    runs_.clear();
    for (int64_t first = 0, end; first < n; first = end) {
      end = order_.group_end(first);
      for (int64_t next; end < n && end - first <= kLeaf; end = next) {
        next = order_.group_end(end);
        if (next - first > kLeaf) break;
      }
      runs_.push_back(first);
    }
    runs_.push_back(n);

    const bool at_once = n >= kSortAtOnce;
    if (at_once) sort_at_once();
    std::vector<double> values(runs_.size(), 0.0);
    const PairLoop<Loss> loop(loss_, order_, true);
    for_ranges(runs_, [&](int64_t first, int64_t last) {
      for (int64_t run = first; run < last; ++run) {
        const int64_t begin = runs_[run], end = runs_[run + 1];
        if (end - begin <= kLeaf) {
          values[run] = loop.sum(begin, end, gradient != nullptr ? gradient + begin : nullptr);
        }
        if (at_once) continue;
        for (int64_t i = begin; i < end; ++i) {
          items_[i] = {centred(i), i};
        }
        std::sort(items_.data() + begin, items_.data() + end, by_score);
      }
    });
    double total = 0;
    for (const double value : values) total += value;
    return total;
  }

  // Where all scores lie within a factor of two, the one nearest to 0, else 0: subtracted without
  // an error (Sterbenz). At an offset of 1000 the margin that is added to a key would otherwise be
  // rounded to the digits of 1000, alike for all keys: a bias that no sum averages out.
  static double common_offset(const ListItems<T>& items) {
    double low = items.count > 0 ? static_cast<double>(items.score[0]) : 0, high = low;
    for (int64_t i = 1; i < items.count; ++i) {
      const auto score = static_cast<double>(items.score[i]);
      low = std::min(low, score);
      high = std::max(high, score);
    }
    if (low > 0 && high <= 2 * low) return low;
    if (high < 0 && low >= 2 * high) return high;
    return 0;
  }

  double centred(int64_t i) const { return static_cast<double>(order_.items().score[i]) - origin_; }

  static bool by_score(const SortedItem& a, const SortedItem& b) { return a.score < b.score; }

  // All scores sorted together, then dealt out to their leaves in that order.
  void sort_at_once() {
    using Key = std::conditional_t<sizeof(T) == sizeof(double), int64_t, int32_t>;
    const int64_t n = order_.items().count;
    const host::Buffer<Key> keys(n);
    const host::Buffer<int64_t> order(n), leaf(n), next(static_cast<int64_t>(runs_.size()));
    for (size_t run = 0; run + 1 < runs_.size(); ++run) {
      next[static_cast<int64_t>(run)] = runs_[run];
      for (int64_t i = runs_[run]; i < runs_[run + 1]; ++i) leaf[i] = static_cast<int64_t>(run);
    }
    for (int64_t i = 0; i < n; ++i) {
      // Integers in the order of the numbers: magnitudes of negative ones are turned around.
      Key bits;
      std::memcpy(&bits, &order_.items().score[i], sizeof bits);
      keys[i] = bits ^ ((bits >> (8 * sizeof bits - 1)) & std::numeric_limits<Key>::max());
    }
    host::sort(keys.data(), order.data(), n);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t i = order[k];
      items_[next[leaf[i]]++] = {centred(i), i};
    }
  }

  // Pairs within groups too long for a leaf that pairs one by one.
  double ties() {
    if (!loss_.rules.ties_half || loss_.rules.label_diff) return 0;
    std::vector<SweepNode> nodes;
    for (size_t i = 0; i + 1 < runs_.size(); ++i) {
      if (runs_[i + 1] - runs_[i] > kLeaf) {
        nodes.push_back({runs_[i], runs_[i], runs_[i + 1], true});
      }
    }
    return sweep(nodes, weights());
  }

  // One pass: pairs of neighbouring runs become one.
  double level() {
    const T* const label = order_.items().label;
    std::vector<SweepNode> nodes, graded;
    std::vector<int64_t> left;
    for (size_t i = 0; i + 1 < runs_.size(); i += 2) {
      const size_t middle = i + 1, end = std::min(i + 2, runs_.size() - 1);
      nodes.push_back({runs_[i], runs_[middle], runs_[end]});
      left.push_back(runs_[i]);
    }
    left.push_back(runs_.back());
    runs_ = std::move(left);
    double total = 0;
    if (!loss_.rules.label_diff) {
      total = sweep(nodes, weights());
    } else {
      // The base of a node is its highest low label: of a single low group nothing is below it.
      total = sweep(nodes, weights(), Kind::kAboveBase);
      for (const SweepNode& node : nodes) {
        if (label[node.begin] < label[node.middle - 1]) graded.push_back(node);
      }
      total += sweep(graded, weights(), Kind::kBelowBase);
    }
    if (runs_.size() > 2) merge(nodes);
    return total;
  }

  using Weights = SweepWeights<T>;
  using Kind = typename Weights::Kind;
  Weights weights() const {
    return {.weight = order_.items().weight, .label = order_.items().label};
  }

  double sweep(const std::vector<SweepNode>& nodes, const Weights& weights,
               Kind kind = Kind::kPlain) const {
    return form_.power == 1 ? sweep_with<1>(nodes, weights, kind)
                            : sweep_with<2>(nodes, weights, kind);
  }

  template <int kPower>
  double sweep_with(const std::vector<SweepNode>& nodes, const Weights& plain, Kind kind) const {
    using Sweep = PairSweep<Sums, kPower>;
    if constexpr (Loss::kLogistic && kPower == 2) {
      return 0;
    } else {
      const Sweep sweep(items_.data(), form_);
      // Blocks of all nodes, numbered through.
      std::vector<int64_t> starts{0}, first_block{0};
      std::vector<int64_t> node_of;
      bool long_nodes = false;
      for (size_t i = 0; i < nodes.size(); ++i) {
        const bool alone = nodes[i].begin == nodes[i].middle || nodes[i].middle == nodes[i].end;
        const int64_t blocks = alone && !nodes[i].ties ? 0 : Sweep::blocks(nodes[i]);
        for (int64_t block = 0; block < blocks; ++block) {
          node_of.push_back(static_cast<int64_t>(i));
          starts.push_back(starts.back() +
                           std::min(Sweep::kBlock, nodes[i].size() - block * Sweep::kBlock));
        }
        first_block.push_back(first_block.back() + blocks);
        long_nodes |= blocks > 1;
      }
      const auto weights_of = [&](const SweepNode& node) {
        Weights weights = plain;
        weights.kind = kind;
        if (kind != Kind::kPlain) weights.base = static_cast<double>(plain.label[node.middle - 1]);
        return weights;
      };
      const auto blocks_of = [&](int64_t node) {
        return first_block[node + 1] - first_block[node];
      };

      const int64_t count = first_block.back();
      std::vector<double> values(count);
      // Vector registers are read from it: the allocator's alignment, not that of operator new.
      const host::Buffer<typename Sweep::Ends> ends(long_nodes ? count : 0);
      if (long_nodes) {
        for_ranges(starts, [&](int64_t first, int64_t last) {
          for (int64_t i = first; i < last; ++i) {
            const SweepNode& node = nodes[node_of[i]];
            if (blocks_of(node_of[i]) == 1) continue;
            sweep.sums(node, i - first_block[node_of[i]], weights_of(node), ends[i]);
          }
        });
        host::for_each_task(static_cast<int64_t>(nodes.size()), [&](int64_t node, int64_t) {
          if (blocks_of(node) > 1) sweep.carry(ends.data() + first_block[node], blocks_of(node));
        });
      }
      for_ranges(starts, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const SweepNode& node = nodes[node_of[i]];
          const auto* const carry = blocks_of(node_of[i]) > 1 ? &ends[i] : nullptr;
          values[i] = sweep.sweep(node, i - first_block[node_of[i]], weights_of(node), carry,
                                  sweep_gradient_);
        }
      });
      double total = 0;
      for (const double value : values) total += value;
      return total;
    }
  }

  // Each node's two runs become one.
  void merge(const std::vector<SweepNode>& nodes) {
    std::vector<int64_t> starts, node_of;
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (int64_t start = nodes[i].begin; start < nodes[i].end; start += kTask) {
        starts.push_back(start);
        node_of.push_back(static_cast<int64_t>(i));
      }
    }
    starts.push_back(nodes.back().end);
    for_ranges(starts, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        merge_range(nodes[node_of[i]], starts[i], starts[i + 1]);
    });
    items_.swap(merged_);
  }

  void merge_range(const SweepNode& node, int64_t begin, int64_t end) {
    const int64_t from = begin - node.begin, to = end - node.begin;
    const int64_t low = merge_split(items_.data(), node, 0, from);
    const int64_t low_end = merge_split(items_.data(), node, 0, to);
    const SortedItem* const lows = items_.data() + node.begin;
    const SortedItem* const highs = items_.data() + node.middle;
    std::merge(lows + low, lows + low_end, highs + (from - low), highs + (to - low_end),
               merged_.data() + begin, by_score);
  }

  Loss loss_;
  const LabelOrder<T>& order_;
  SweepForm form_;
  double origin_;
  host::Buffer<SortedItem> items_, merged_;
  std::vector<int64_t> runs_;  // starts of the sorted runs, and the end
  double* sweep_gradient_ = nullptr;
};

}  // namespace fastloss
