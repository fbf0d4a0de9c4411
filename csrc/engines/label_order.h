// A list's items in ascending order of label: the pairs of an item are then those with all items
// before its own group of equal labels — a contiguous range without a comparison.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/list_loss.h"
#include "core/math.h"
#include "core/simd.h"
#include "engines/host.h"

namespace fastloss {

// Loops over items run to whole multiples of this, so that they have no scalar rest: arrays are
// padded with zeros and what lies beyond the end is discarded by a comparison.
constexpr int32_t kItemStep = 16;

template <class T>
class LabelOrder {
 public:
  // Labels without NaN.
  explicit LabelOrder(const ListItems<T>& items)
      : count_(items.count),
        order_(items.count),
        group_(items.count),
        values_((items.weight != nullptr ? 3 : 2) * padded(), T(0)) {
    if (!by_levels(items.label)) by_sorting(items.label);
    T* const score = values_.data();
    T* const label = score + padded();
    T* const weight = label + padded();
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t from = order_[i];
      score[i] = items.score[from];
      label[i] = items.label[from];
      if (items.weight != nullptr) weight[i] = items.weight[from];
    }
    ordered_ = {count_,          score,          label, items.weight != nullptr ? weight : nullptr,
                items.max_score, items.max_label};
    for (int64_t i = 0; i < count_; ++i) {
      group_[i] = i > 0 && label[i] == label[i - 1] ? group_[i - 1] : i;
      groups_ += group_[i] == i;
    }
  }

  // In this order; the arrays may be read to the next multiple of kItemStep and kItemStep further.
  const ListItems<T>& items() const { return ordered_; }
  // Place of an item in the original order.
  int64_t original(int64_t i) const { return order_[i]; }
  // The first item of i's group: how many items have a smaller label.
  int64_t group(int64_t i) const { return group_[i]; }
  int64_t group_end(int64_t i) const {
    int64_t end = i;
    while (end < count_ && group_[end] == group_[i]) ++end;
    return end;
  }
  int64_t groups() const { return groups_; }

  // Σ of the pairs' weights, and the number of pairs.
  double weight_of_pairs(bool with_ties) const {
    double sum = 0;
    for (int64_t i = 0; i < count_; ++i) {
      const double weight = ordered_.weight != nullptr ? ordered_.weight[i] : 1;
      sum += weight * static_cast<double>(group_[i]);
    }
    if (!with_ties) return sum;
    // An item stands in (size − 1) ties, each of which has half of its weight.
    for (int64_t first = 0, end; first < count_; first = end) {
      end = group_end(first);
      for (int64_t i = first; i < end; ++i) {
        const double weight = ordered_.weight != nullptr ? ordered_.weight[i] : 1;
        sum += 0.5 * weight * static_cast<double>(end - first - 1);
      }
    }
    return sum;
  }
  int64_t pairs(bool with_ties) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < count_; ++i) sum += with_ties ? i : group_[i];
    return sum;
  }

 private:
  static constexpr int64_t kLevels = 32;

  int64_t padded() const {
    return (count_ + 2 * kItemStep - 1) / kItemStep * kItemStep + kItemStep;
  }

  // A few distinct labels: one vectorised pass a level finds them, a counting sort does the rest.
  // Returns false if there are more than kLevels.
  bool by_levels(const T* label) {
    T levels[kLevels];
    int64_t sizes[kLevels + 1];
    int64_t found = 0, placed = 0;
    while (placed < count_) {
      if (found == kLevels) return false;
      const T above = found > 0 ? levels[found - 1] : -math::kInfinity<T>;
      T next = math::kInfinity<T>;
      int64_t equal = 0;
      const int64_t count = count_;
      T* const level = &next;
      int64_t* const size = &equal;
      simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
        T least = math::kInfinity<T>;
#pragma omp simd reduction(min : least)
        for (int64_t i = 0; i < count; ++i) {
          const T candidate = label[i] > above ? label[i] : math::kInfinity<T>;
          least = candidate < least ? candidate : least;
        }
        int64_t hits = 0;
#pragma omp simd reduction(+ : hits)
        for (int64_t i = 0; i < count; ++i) hits += label[i] == least;
        *level = least;
        *size = hits;
      });
      levels[found] = next;
      sizes[found++] = equal;
      placed += equal;
    }
    int64_t next[kLevels];
    for (int64_t k = 0, begin = 0; k < found; begin += sizes[k++]) next[k] = begin;
    for (int64_t i = 0; i < count_; ++i) {
      int64_t rank = 0;
      for (int64_t k = 0; k + 1 < found; ++k) rank += label[i] > levels[k];
      order_[next[rank]++] = i;
    }
    return true;
  }

  void by_sorting(const T* label) {
    for (int64_t i = 0; i < count_; ++i) order_[i] = i;
    std::sort(order_.data(), order_.data() + count_, [label](int64_t a, int64_t b) {
      return label[a] < label[b] || (label[a] == label[b] && a < b);
    });
  }

  int64_t count_;
  host::Buffer<int64_t> order_;
  host::Buffer<int64_t> group_;
  host::Buffer<T> values_;
  ListItems<T> ordered_{};
  int64_t groups_ = 0;
};

}  // namespace fastloss
