// All pairs of two sorted runs in one sweep up and one down: O(n R) instead of O(n²).
//
// Let the *high* run have the higher labels, and let keys be slope · score, the *low* run's shifted
// up by the margin. A pair's term (SweepForm) is then, with t = |key_low − key_high|,
//     log1p(e^{−t}) + (t^power if key_high < key_low),
// its derivative by key_low (by key_high: minus that)
//     key_high < key_low:  power t^{power − 1} − σ(−t),        else  σ(−t),
// and log1p(x) = Σ c_k x^k, σ(−t) = Σ d_k x^k with x = e^{−t} ∈ (0, 1] (core/exponential_sums.h).
// A sweep up keeps the State of the high and of the low items below; a low item meets the former,
// a high item the latter. All values are found on the way up, half of the derivatives; a sweep down
// finds the others. Terms without exponentials (hinge) have R = 0 and the same sweeps.
//
// With a_i an item's weight as the higher of a pair (0 in the low run), b_i as the lower, both
// cases are one expression: a_i · (low State) + b_i · (high State). A run against itself, the ties,
// is the same sweep again: every item has both weights, the linear parts count half on either side.
//
// Long nodes are cut into blocks of kBlock merged items. First every block's own sums are formed at
// its ends; these are carried along the blocks in order; then each block is swept from its carry.
// The blocks, not the threads, fix the order of every sum — and rounding errors grow with kBlock
// plus the number of blocks, not with their product.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/list_loss.h"
#include "core/math.h"
#include "core/simd.h"
#include "engines/sweep_state.h"

namespace fastloss {

// An item of a run sorted by score; `place` is its place in label order.
struct SortedItem {
  double score;
  int64_t place;
};

// Two neighbouring runs of sorted items: low labels [begin, middle), high labels [middle, end); or
// with `ties` a single run [begin, end) of one label.
struct SweepNode {
  int64_t begin, middle, end;
  bool ties = false;

  int64_t size() const { return end - begin; }
};

// How many of the first `count` items of the merged node come from its low run, which goes first
// where keys are equal: a pair at the kink of a hinge is not active.
inline int64_t merge_split(const SortedItem* items, const SweepNode& node, double shift,
                           int64_t count) {
  const SortedItem* const low = items + node.begin;
  const SortedItem* const high = items + node.middle;
  int64_t least = std::max<int64_t>(0, count - (node.end - node.middle));
  int64_t most = std::min(count, node.middle - node.begin);
  while (least < most) {
    const int64_t mid = least + (most - least) / 2;
    if (low[mid].score + shift <= high[count - mid - 1].score) {
      least = mid + 1;
    } else {
      most = mid;
    }
  }
  return least;
}

// Weights of a pair that are a product of one of each item. The item weight goes to the higher one;
// |label_i − label_j| = (label_i − base) + (base − label_j), base between both runs' labels, is the
// sum of two such products without a difference of large numbers.
template <class T>
struct SweepWeights {
  enum class Kind { kPlain, kAboveBase, kBelowBase };
  Kind kind = Kind::kPlain;
  const T* weight;  // in label order, as place says; null: all 1
  const T* label;
  double base = 0;

  double high(int64_t place) const {
    const double w = weight != nullptr ? static_cast<double>(weight[place]) : 1;
    return kind == Kind::kAboveBase ? w * (static_cast<double>(label[place]) - base) : w;
  }
  double low(int64_t place) const {
    return kind == Kind::kBelowBase ? base - static_cast<double>(label[place]) : 1;
  }
};

template <class Sums, int kPower>
class PairSweep {
 public:
  static constexpr int64_t kBlock = 256;
  static constexpr int R = Sums::kTerms;
  using State = sweep::State<R>;

  // A block's sums; `carry` turns them into those of all blocks before it (up), behind it (down).
  struct Ends {
    double first_key, last_key;
    State high_up, low_up;      // at the last key; as carry: at the first
    State high_down, low_down;  // at the first key; as carry: at the last
  };

  PairSweep(const SortedItem* items, const SweepForm& form)
      : items_(items), slope_(form.slope), shift_(form.margin / form.slope) {}

  static int64_t blocks(const SweepNode& node) { return (node.size() + kBlock - 1) / kBlock; }

  // A block's own sums.
  template <class Weights>
  void sums(const SweepNode& node, int64_t block, const Weights& weights, Ends& ends) const {
    Block b;
    load(node, block, weights, b);
    ends.first_key = b.key[0];
    ends.last_key = b.key[b.count - 1];
    Ends* const out = &ends;
    const Block* const in = &b;
    const double slope = slope_;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      at_place(*in, out->last_key, slope, out->high_up, out->low_up);
      at_place(*in, out->first_key, slope, out->high_down, out->low_down);
    });
  }

  // From the blocks' own sums to their carries.
  void carry(Ends* ends, int64_t count) const {
    const double slope = slope_;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      State high{}, low{};
      for (int64_t i = 0; i < count; ++i) {
        const State own_high = ends[i].high_up, own_low = ends[i].low_up;
        ends[i].high_up = high;
        ends[i].low_up = low;
        if (i + 1 == count) break;
        const double next = ends[i + 1].first_key;
        pass_on(high, own_high, slope * (next - ends[i].first_key),
                slope * (next - ends[i].last_key));
        pass_on(low, own_low, slope * (next - ends[i].first_key),
                slope * (next - ends[i].last_key));
      }
      high = State{}, low = State{};
      for (int64_t i = count - 1; i >= 0; --i) {
        const State own_high = ends[i].high_down, own_low = ends[i].low_down;
        ends[i].high_down = high;
        ends[i].low_down = low;
        if (i == 0) break;
        const double next = ends[i - 1].last_key;
        pass_on(high, own_high, slope * (ends[i].last_key - next),
                slope * (ends[i].first_key - next));
        pass_on(low, own_low, slope * (ends[i].last_key - next),
                slope * (ends[i].first_key - next));
      }
    });
  }

  // Σ of the terms of the pairs whose upper item is in this block; unless null, their derivatives
  // and those of the pairs whose lower item is in it are added to gradient[place]. `ends` is the
  // block's carry, null for a node's only block. Neither slope nor factor is applied to either.
  template <class Weights>
  double sweep(const SweepNode& node, int64_t block, const Weights& weights, const Ends* ends,
               double* gradient) const {
    Block b;
    load(node, block, weights, b);
    const Shares shares = node.ties ? Shares{0.5, 0.5, 0.5, 0.5, 0.5} : Shares{1, 0, 0, 1, 1};
    double value = 0;
    double* const out = &value;
    Block* const in = &b;
    const double slope = slope_;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      steps(*in, slope);
      *out = ends != nullptr ? up(*in, ends->high_up, ends->low_up, shares)
                             : up(*in, State{}, State{}, shares);
      if (gradient == nullptr) return;
      if (ends != nullptr) {
        down(*in, ends->high_down, ends->low_down, shares);
      } else {
        down(*in, State{}, State{}, shares);
      }
    });
    if (gradient != nullptr) {
      for (int64_t i = 0; i < b.count; ++i) gradient[b.place[i]] += shares.all * b.gradient[i];
    }
    return shares.all * value;
  }

 private:
  struct Block {
    int64_t count;
    int64_t place[kBlock];
    double key[kBlock];
    double high[kBlock], low[kBlock];            // a, b
    double step[kBlock + 1], decay[kBlock + 1];  // from item i − 1 to i
    double gradient[kBlock];
  };

  // How much of the linear part (t where misordered) the high and low items met count.
  struct Shares {
    double up_high, up_low, down_high, down_low;
    double all;
  };

  template <class Weights>
  void load(const SweepNode& node, int64_t block, const Weights& weights, Block& b) const {
    const int64_t first = block * kBlock;
    b.count = std::min(kBlock, node.size() - first);
    if (node.ties) {
      for (int64_t i = 0; i < b.count; ++i) {
        const SortedItem item = items_[node.begin + first + i];
        b.key[i] = item.score;
        b.place[i] = item.place;
        b.high[i] = weights.high(item.place);
        b.low[i] = weights.low(item.place);
      }
      return;
    }
    const int64_t split = merge_split(items_, node, shift_, first);
    int64_t low = node.begin + split, high = node.middle + (first - split);
    for (int64_t i = 0; i < b.count; ++i) {
      const bool is_low = high == node.end ||
                          (low < node.middle && items_[low].score + shift_ <= items_[high].score);
      const SortedItem item = items_[is_low ? low : high];
      low += is_low;
      high += !is_low;
      b.key[i] = is_low ? item.score + shift_ : item.score;
      b.place[i] = item.place;
      b.high[i] = is_low ? 0 : weights.high(item.place);
      b.low[i] = is_low ? weights.low(item.place) : 0;
    }
  }

  FASTLOSS_HOST_DEVICE static void at_place(const Block& b, double place, double slope, State& high,
                                            State& low) {
    double x[kBlock], power[kBlock];
    const int64_t n = b.count;
    double hw = 0, h1 = 0, h2 = 0, lw = 0, l1 = 0, l2 = 0;
#pragma omp simd reduction(+ : hw, h1, h2, lw, l1, l2)
    for (int64_t i = 0; i < n; ++i) {
      const double t = slope * std::abs(place - b.key[i]);
      hw += b.high[i], h1 += b.high[i] * t, h2 += b.high[i] * t * t;
      lw += b.low[i], l1 += b.low[i] * t, l2 += b.low[i] * t * t;
      if constexpr (R > 0) power[i] = x[i] = math::exp_up_to_0(-t);
    }
    high.weight = hw, high.first = h1, high.second = h2;
    low.weight = lw, low.first = l1, low.second = l2;
    for (int k = 0; k < R; ++k) {
      double h = 0, l = 0;
#pragma omp simd reduction(+ : h, l)
      for (int64_t i = 0; i < n; ++i) {
        h += b.high[i] * power[i];
        l += b.low[i] * power[i];
        power[i] *= x[i];
      }
      high.decayed.lane[k / 4][k % 4] = h;
      low.decayed.lane[k / 4][k % 4] = l;
    }
  }

  // The carry, moved on by `step`, and the block's own sums, moved on by `own_step`, together.
  FASTLOSS_HOST_DEVICE static void pass_on(State& state, const State& block, double step,
                                           double block_step) {
    State own = block;
    state.move(step, sweep::powers_of<R>(R > 0 ? math::exp_up_to_0(-step) : 0));
    own.move(block_step, sweep::powers_of<R>(R > 0 ? math::exp_up_to_0(-block_step) : 0));
    state.add(own);
  }

  FASTLOSS_HOST_DEVICE static void steps(Block& b, double slope) {
    b.step[0] = b.step[b.count] = 0;
    b.decay[0] = b.decay[b.count] = 1;
    double* __restrict const step = b.step;
    double* __restrict const decay = b.decay;
    const double* __restrict const key = b.key;
#pragma omp simd
    for (int64_t i = 1; i < b.count; ++i) {
      step[i] = slope * (key[i] - key[i - 1]);
      if constexpr (R > 0) decay[i] = math::exp_up_to_0(-step[i]);
    }
  }

  FASTLOSS_HOST_DEVICE static double linear_value(const State& state) {
    return kPower == 1 ? state.first : state.second;
  }
  FASTLOSS_HOST_DEVICE static double linear_derivative(const State& state) {
    return kPower == 1 ? state.weight : 2 * state.first;
  }

  FASTLOSS_HOST_DEVICE static double up(Block& b, const State& high_carry, const State& low_carry,
                                        const Shares& shares) {
    State high = high_carry, low = low_carry;
    const auto c = sweep::vectors_of<R>(Sums::kLog1p), d = sweep::vectors_of<R>(Sums::kSigmoid);
    sweep::Lanes values{};
    double value = 0;
    for (int64_t i = 0; i < b.count; ++i) {
      const auto decay = sweep::powers_of<R>(b.decay[i]);
      high.move(b.step[i], decay);
      low.move(b.step[i], decay);
      const double as_high = b.high[i], as_low = b.low[i];
      sweep::Lanes derivatives{};
      for (int v = 0; v < R / 4; ++v) {
        const sweep::Lanes met = as_low * high.decayed.lane[v] + as_high * low.decayed.lane[v];
        values += c.lane[v] * met;
        derivatives += d.lane[v] * met;
      }
      const double by_high = as_low * shares.up_high, by_low = as_high * shares.up_low;
      value += by_high * linear_value(high) + by_low * linear_value(low);
      b.gradient[i] = by_high * linear_derivative(high) + by_low * linear_derivative(low) -
                      sweep::sum_of(derivatives);
      high.add(as_high);
      low.add(as_low);
    }
    return value + sweep::sum_of(values);
  }

  FASTLOSS_HOST_DEVICE static void down(Block& b, const State& high_carry, const State& low_carry,
                                        const Shares& shares) {
    State high = high_carry, low = low_carry;
    const auto d = sweep::vectors_of<R>(Sums::kSigmoid);
    for (int64_t i = b.count - 1; i >= 0; --i) {
      const auto decay = sweep::powers_of<R>(b.decay[i + 1]);
      high.move(b.step[i + 1], decay);
      low.move(b.step[i + 1], decay);
      const double as_high = b.high[i], as_low = b.low[i];
      sweep::Lanes derivatives{};
      for (int v = 0; v < R / 4; ++v) {
        derivatives += d.lane[v] * (as_low * high.decayed.lane[v] + as_high * low.decayed.lane[v]);
      }
      const double by_high = as_low * shares.down_high, by_low = as_high * shares.down_low;
      b.gradient[i] -= by_high * linear_derivative(high) + by_low * linear_derivative(low) -
                       sweep::sum_of(derivatives);
      high.add(as_high);
      low.add(as_low);
    }
  }

  const SortedItem* items_;
  double slope_;
  double shift_;
};

}  // namespace fastloss
