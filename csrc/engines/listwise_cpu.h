// The CPU loops of the listwise engine (contract: listwise.h).
//
// Lists of at most kOneTask items are tasks, several to one; longer lists follow one another, each
// using all threads. Either way a list is gathered into scratch, handed to the functor and its
// gradient scattered, with a factor that is known then; what a mean divides by is known only at the
// end and is one more pass over the gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/listwise.h"
#include "engines/pair_list.h"

namespace fastloss {

template <class Loss, class S>
class ListwiseCpu {
 public:
  using T = typename Loss::Value;

  ListwiseCpu(const ListwiseInput<S, T>& input, const Loss& loss, ListReduction reduction)
      : in_(input), loss_(loss), reduction_(reduction), totals_(input.lists, ListTotal{}) {}

  // The first item, in flat order, of which something is out of range; −1: none.
  struct Invalid {
    int64_t label = -1;
    int64_t weight = -1;
  };

  // Fills loss (one value, or `lists` of them) and, unless null, gradient (zero where masked). Both
  // are undefined if something is invalid.
  Invalid run(T* loss, T* gradient) {
    gradient_ = gradient;
    Invalid invalid = short_lists();
    for (int64_t list = 0; list < in_.lists; ++list) {
      if (in_.end(list) - in_.begin(list) <= kOneTask) continue;
      Scratch scratch(in_.end(list) - in_.begin(list), in_.weight != nullptr);
      first(invalid, one_list(list, scratch));
    }
    if (invalid.label < 0 && invalid.weight < 0) reduce(loss);
    return invalid;
  }

 private:
  // One list's kept items, densely, and where they came from.
  struct Scratch {
    explicit Scratch(int64_t length, bool weighted)
        : score(length),
          label(length),
          weight(weighted ? length : 0),
          place(length),
          gradient(length) {}
    host::Buffer<T> score, label, weight;
    host::Buffer<int64_t> place;
    host::Buffer<double> gradient;
  };

  static void first(Invalid& a, const Invalid& b) {
    if (b.label >= 0 && (a.label < 0 || b.label < a.label)) a.label = b.label;
    if (b.weight >= 0 && (a.weight < 0 || b.weight < a.weight)) a.weight = b.weight;
  }

  Invalid short_lists() {
    // Runs of lists with about kOneTask items together.
    std::vector<int64_t> runs{0};
    int64_t items = 0, longest = 0;
    for (int64_t list = 0; list < in_.lists; ++list) {
      const int64_t length = in_.end(list) - in_.begin(list);
      if (length > kOneTask) continue;
      longest = std::max(longest, length);
      items += length + 1;
      if (items < kOneTask) continue;
      runs.push_back(list + 1);
      items = 0;
    }
    if (runs.back() < in_.lists) runs.push_back(in_.lists);
    const auto tasks = static_cast<int64_t>(runs.size()) - 1;
    std::vector<Invalid> invalid(tasks);
    host::for_each_task(tasks, [&](int64_t task, int64_t) {
      Scratch scratch(longest, in_.weight != nullptr);
      for (int64_t list = runs[task]; list < runs[task + 1]; ++list) {
        if (in_.end(list) - in_.begin(list) > kOneTask) continue;
        first(invalid[task], one_list(list, scratch));
      }
    });
    Invalid all;
    for (const Invalid& one : invalid) first(all, one);
    return all;
  }

  double list_weight(int64_t list) const {
    return in_.list_weight != nullptr ? static_cast<double>(in_.list_weight[list]) : 1;
  }

  Invalid one_list(int64_t list, const Scratch& scratch) {
    const int64_t begin = in_.begin(list), end = in_.end(list);
    Invalid invalid;
    bool nan = false;
    int64_t kept = 0;
    for (int64_t i = begin; i < end; ++i) {
      const bool keep = in_.where == nullptr || in_.where[i];
      // Written whether kept or not, and then overwritten: no branch.
      const T score = scratch.score[kept] = static_cast<T>(in_.score[i]);
      const T label = scratch.label[kept] = in_.label[i];
      scratch.place[kept] = i;
      nan |= keep && (score != score || label != label);
      if (keep && label < T(0) && invalid.label < 0) invalid.label = i;
      if (in_.weight != nullptr) {
        const T weight = scratch.weight[kept] = in_.weight[i];
        if (keep && weight < T(0) && invalid.weight < 0) invalid.weight = i;
      }
      kept += keep;
    }
    const ListItems<T> items{kept, scratch.score.data(), scratch.label.data(),
                             in_.weight != nullptr ? scratch.weight.data() : nullptr};
    const bool wants = gradient_ != nullptr;
    const double factor = list_weight(list);
    if (factor == 0) {
      // No part of the sum, NaN or not.
      for (int64_t k = 0; wants && k < kept; ++k) gradient_[scratch.place[k]] = T(0);
      return invalid;
    }
    ListTotal& total = totals_[list];
    if (nan) {
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      total = {kNan, count_of_ordered(items, scratch)};
      std::fill_n(scratch.gradient.data(), kept, kNan);
    } else {
      total = evaluate(items, wants ? scratch.gradient.data() : nullptr);
    }
    if (wants) scatter(total, factor, kept, scratch);
    return invalid;
  }

  ListTotal evaluate(const ListItems<T>& items, double* gradient) const {
    if constexpr (requires { &Loss::list; }) {
      return loss_.list(items, gradient);
    } else {
      return PairList<Loss>(loss_, items).total(gradient);
    }
  }

  // How a list that holds NaN counts: by the labels that are numbers.
  double count_of_ordered(ListItems<T> items, const Scratch& scratch) const {
    int64_t kept = 0;
    for (int64_t k = 0; k < items.count; ++k) {
      const T label = scratch.label[k];
      scratch.label[kept] = label;
      if (items.weight != nullptr) scratch.weight[kept] = scratch.weight[k];
      kept += label == label;
    }
    if constexpr (requires { &Loss::list; }) {
      return loss_.count(items);
    } else {
      items.count = kept;
      return PairList<Loss>(loss_, items).count();
    }
  }

  void scatter(const ListTotal& total, double weight, int64_t kept, const Scratch& scratch) const {
    double factor = weight;
    if (reduction_ == ListReduction::kMeanList && total.count > 0) factor /= total.count;
    const int64_t* const place = scratch.place.data();
    const double* const from = scratch.gradient.data();
    for (int64_t k = 0; k < kept; ++k) gradient_[place[k]] = static_cast<T>(factor * from[k]);
  }

  void reduce(T* loss) const {
    if (reduction_ == ListReduction::kNone) {
      for (int64_t list = 0; list < in_.lists; ++list) {
        loss[list] = static_cast<T>(list_weight(list) * totals_[list].value);
      }
      return;
    }
    double sum = 0, divisor = 0;
    for (int64_t list = 0; list < in_.lists; ++list) {
      const ListTotal& total = totals_[list];
      const double weight = list_weight(list);
      if (reduction_ == ListReduction::kMeanList) {
        // A NaN counts even where there is no pair.
        if (total.count > 0 || total.value != total.value) {
          sum += weight * (total.value / (total.count > 0 ? total.count : 1));
        }
        if (total.count > 0) divisor += weight;
      } else {
        sum += weight * total.value;
        divisor += weight * total.count;
      }
    }
    if (reduction_ == ListReduction::kSum) divisor = 1;
    *loss = static_cast<T>(sum != sum ? sum : divisor == 0 ? 0 : sum / divisor);
    if (gradient_ != nullptr && reduction_ != ListReduction::kSum) divide_gradient(divisor);
  }

  void divide_gradient(double divisor) const {
    // A divisor of 0: there is no pair with weight, the gradient is 0 but for NaN.
    const double factor = divisor == 0 ? 0 : 1 / divisor;
    constexpr int64_t kBlock = 1 << 15;
    const int64_t count = in_.lists > 0 ? in_.end(in_.lists - 1) : 0;
    T* const gradient = gradient_;
    host::for_each_task((count + kBlock - 1) / kBlock, [=](int64_t task, int64_t) {
      simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
#pragma omp simd
        for (int64_t i = task * kBlock; i < std::min(count, (task + 1) * kBlock); ++i) {
          gradient[i] = static_cast<T>(factor * static_cast<double>(gradient[i]));
        }
      });
    });
  }

  ListwiseInput<S, T> in_;
  Loss loss_;
  ListReduction reduction_;
  host::Buffer<ListTotal> totals_;
  T* gradient_ = nullptr;
};

}  // namespace fastloss
