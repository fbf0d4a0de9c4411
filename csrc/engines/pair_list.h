// The pairs of one list: in label order, by the pair loop or by sorted sweeps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engines/label_order.h"
#include "engines/listwise.h"
#include "engines/pair_loop.h"
#include "engines/sorted_pairs.h"

namespace fastloss {

template <class Loss>
class PairList {
 public:
  using T = typename Loss::Value;

  // The length from which `auto` sorts. With AVX-512 both ways take the same time at lengths of
  //                   binary    5 grades    all different
  //   logistic float      90         125              160
  //            double     45          65               95
  //   hinge    float     195         210              350
  //            double    190         150              200
  static constexpr bool kDouble = sizeof(T) == sizeof(double);
  static constexpr int64_t kSortedFrom =
      Loss::kLogistic ? (kDouble ? 64 : 128) : (kDouble ? 192 : 256);

  // Items without NaN in their labels.
  PairList(const Loss& loss, const ListItems<T>& items) : loss_(loss), order_(items) {}

  double count() const { return order_.weight_of_pairs(loss_.rules.ties_half); }

  // Items without any NaN. Fills the gradient unless it is null.
  ListTotal total(double* gradient) const {
    const int64_t n = order_.items().count;
    const ListTotal none{0, count()};
    if (gradient != nullptr) std::fill_n(gradient, n, 0.0);
    if (order_.pairs(loss_.rules.ties_half) == 0) return none;
    const host::Buffer<double> own(gradient != nullptr ? n : 0, 0.0);
    double* const ordered = gradient != nullptr ? own.data() : nullptr;
    const bool tame = is_tame();
    const double value =
        tame && sorted() ? SortedPairs<Loss>(loss_, order_).sum(ordered) : by_pairs(ordered, tame);
    for (int64_t i = 0; gradient != nullptr && i < n; ++i) gradient[order_.original(i)] = own[i];
    return {value, none.count};
  }

 private:
  double by_pairs(double* gradient, bool finite) const {
    const PairLoop<Loss> loop(loss_, order_, finite);
    const int64_t n = order_.items().count;
    return n > kOneTask ? loop.sum_parallel(gradient) : loop.sum(0, n, gradient);
  }

  bool sorted() const {
    if (loss_.rules.method != PairMethod::kAuto) return loss_.rules.method == PairMethod::kSorted;
    return order_.items().count >= kSortedFrom;
  }

  // Sweeps form differences and products of scores, label differences and weights: those of
  // infinities are left to the pair loop, whose terms are right one by one.
  bool is_tame() const {
    constexpr double kFar = 1e150;
    const ListItems<T>& items = order_.items();
    bool finite = true;
    for (int64_t i = 0; i < items.count; ++i) {
      finite &= std::abs(static_cast<double>(items.score[i])) < kFar;
      if (items.weight != nullptr) finite &= std::abs(static_cast<double>(items.weight[i])) < kFar;
    }
    const bool labels = !loss_.rules.label_diff || items.label[items.count - 1] < kFar;
    return finite && labels;
  }

  Loss loss_;
  LabelOrder<T> order_;
};

}  // namespace fastloss
