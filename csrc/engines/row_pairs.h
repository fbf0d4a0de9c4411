// One anchor's similarities by label, and sums over all pairs of a positive and a negative that do
// not visit the pairs.
//
// Let τ_i = z_i − margin be the *threshold* of positive i, thresholds in ascending order; a pair
// (i, j) is active where z_j > τ_i. The number h_j of thresholds below z_j says which: those of the
// first h_j positives. With c_i = #{j: h_j > i}, from a histogram of h,
//     Σ_ij (z_j − τ_i)₊ = Σ_j h_j (z_j − r) − Σ_i c_i (τ_i − r),     ∂/∂z_j = h_j,  ∂/∂z_i = −c_i
// for any r: O(m log P), and the many negatives are never sorted. Comparisons are exact: τ_i is
// formed in double, and z_j > τ_i exactly if z_j > the largest T that is not above τ_i. r = τ_0
// keeps terms as small as the gaps; they are summed in double.
//
// Softplus terms of few positives are summed pair by pair; of many, by sweeps over the sorted row
// (pair_sweep.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/list_loss.h"
#include "core/math.h"
#include "core/simd.h"
#include "engines/host.h"
#include "engines/pair_sweep.h"

namespace fastloss {

template <class T>
class RowPairs {
 public:
  struct Item {
    T z;
    int64_t column;
  };
  // The sum of terms, and how many of them are not zero.
  struct Sum {
    double value = 0;
    int64_t active = 0;
  };

  // Room for rows of m candidates, `most` of them positives.
  RowPairs(int64_t m, int64_t most)
      : m_(m),
        positives_(most),
        keys_(most),
        histogram_(kHistograms * (most + 1)),
        counts_(most + 1),
        places_(m) {}

  static int64_t bytes(int64_t m, int64_t most) {
    return most * int64_t{sizeof(Item) + sizeof(T) + 8} + kHistograms * (most + 1) * 4 + m * 4;
  }

  // A new row: z[m], of which the positives are masked, and the columns of the anchor's label in
  // ascending order; `self` is the anchor's own or −1.
  void set(T* z, const int64_t* same, int64_t same_count, int64_t self) {
    z_ = z, same_ = same, same_count_ = same_count;
    positive_count_ = sorted_ = 0;
    for (int64_t k = 0; k < same_count; ++k) {
      const int64_t column = same[k];
      const T value = z[column];
      z[column] = -math::kInfinity<T>;
      if (column == self) continue;
      ++positive_count_;
      // Not sorted: a NaN has no place in an order, and is above no threshold.
      if (value == value) positives_[sorted_++] = {value, column};
    }
    const bool is_nan = count() > 0 && (sorted_ < positive_count_ || negatives_are_nan());
    poison_ = is_nan ? std::numeric_limits<double>::quiet_NaN() : 0;
    std::sort(positives_.data(), positives_.data() + sorted_,
              [](const Item& a, const Item& b) { return a.z < b.z; });
  }

  int64_t positive_count() const { return positive_count_; }
  int64_t negative_count() const { return m_ - same_count_; }
  int64_t count() const { return positive_count() * negative_count(); }
  // NaN where a pair has one, else 0.
  double poison() const { return poison_; }

  // Positives in ascending order of similarity, the farthest first; without those that are NaN.
  int64_t sorted() const { return sorted_; }
  const Item& positive(int64_t i) const { return positives_[i]; }

  // visit(z, column) for every negative.
  template <class Visit>
  void each_negative(const Visit& visit) const {
    for (int64_t k = 0, j = 0; k <= same_count_; ++k, ++j) {
      const int64_t end = k < same_count_ ? same_[k] : m_;
      for (; j < end; ++j) visit(z_[j], j);
    }
  }

  // counts[i]: how many negatives are nearer than positive i, or by less than `margin` farther.
  const int64_t* nearer(double margin) {
    for (int64_t i = 0; i < sorted_; ++i) keys_[i] = not_above(threshold(i, margin));
    find_places<false>();
    return count_places();
  }
  // counts[i]: how many are nearer or as near.
  const int64_t* as_near() {
    for (int64_t i = 0; i < sorted_; ++i) keys_[i] = positives_[i].z;
    find_places<true>();
    return count_places();
  }

  // Σ over all pairs of (z_j − z_i + margin)₊ and its derivatives.
  Sum hinge(double margin, T* dscore) {
    if (sorted_ == 0) return {poison_, 0};
    const int64_t* const counts = nearer(margin);
    const double first = threshold(0, margin);
    const double origin = std::isfinite(first) ? first : 0;
    Sum sum{poison_ + sum_of_places(origin, dscore), 0};
    for (int64_t i = 0; i < sorted_ && counts[i] > 0; ++i) {
      sum.active += counts[i];
      sum.value -= static_cast<double>(counts[i]) * (threshold(i, margin) - origin);
      if (dscore != nullptr) dscore[positives_[i].column] = -static_cast<T>(counts[i]);
    }
    return sum;
  }

  // Σ over all pairs of log(1 + e^(z_j − z_i + margin)) and its derivatives.
  Sum softplus(double margin, T* dscore) {
    double value = 0;
    if (sorted_ <= kPairByPair || !is_finite()) {
      for (int64_t i = 0; i < sorted_; ++i) value += softplus_of(positives_[i], margin, dscore);
    } else {
      value = softplus_by_sweeps(margin, dscore);
    }
    return {poison_ + value, count()};
  }

  // visit(positive, negative) for every positive, with the nearest negative that is farther than
  // it or, if none is, the farthest of all; of equally near ones that of the lowest column.
  template <class Visit>
  void each_semi_hard(const Visit& visit) {
    as_near();
    // Negatives at place k are farther than the positives from k on.
    const host::Buffer<Item> nearest(sorted_ + 1, Item{T(0), -1});
    Item farthest{T(0), -1};
    each_negative([&](T z, int64_t column) {
      Item& best = nearest[places_[column]];
      if (best.column < 0 || z > best.z) best = {z, column};
      if (farthest.column < 0 || z < farthest.z) farthest = {z, column};
    });
    Item best{T(0), -1};
    for (int64_t i = 0; i < sorted_; ++i) {
      // Values of different places differ.
      if (nearest[i].column >= 0) best = nearest[i];
      visit(positives_[i], best.column >= 0 ? best : farthest);
    }
  }

 private:
  static constexpr int64_t kSpan = 256;
  static constexpr int64_t kHistograms = 4;  // so that equal places in a row need not wait
  // Up to here comparing with all thresholds is faster than a search that gathers.
  static constexpr int64_t kCompareAll = 48;
  // Up to here the pairs of a row cost less than sorting and sweeping it.
  static constexpr int64_t kPairByPair = 64;

  double threshold(int64_t i, double margin) const {
    return static_cast<double>(positives_[i].z) - margin;
  }
  // The largest T that is not above.
  static T not_above(double threshold) {
    const T rounded = static_cast<T>(threshold);
    return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, -math::kInfinity<T>)
                                                    : rounded;
  }

  bool negatives_are_nan() const {
    const T* const row = z_;
    const int64_t m = m_;
    bool found = false;
    bool* const out = &found;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      int nan = 0;
#pragma omp simd reduction(| : nan)
      for (int64_t j = 0; j < m; ++j) nan |= row[j] != row[j] ? 1 : 0;
      *out = nan != 0;
    });
    return found;
  }

  // places[j] = how many keys are below z_j, or equal to it. Every column takes the same steps.
  template <bool kOrEqual>
  void find_places() {
    const T* const keys = keys_.data();
    const T* const row = z_;
    int32_t* const places = places_.data();
    const int64_t m = m_;
    const auto count = static_cast<int32_t>(sorted_);
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      for (int64_t first = 0; first < m; first += kSpan) {
        const int64_t width = std::min(kSpan, m - first);
        const T* __restrict z = row + first;
        int32_t* __restrict place = places + first;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) place[j] = 0;
        if (count <= kCompareAll) {
          for (int32_t i = 0; i < count; ++i) {
            const T key = keys[i];
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) place[j] += is_below<kOrEqual>(key, z[j]) ? 1 : 0;
          }
          continue;
        }
        for (int32_t left = count; left > 0; left -= (left + 1) / 2) {
          const int32_t step = (left + 1) / 2;
          const T* __restrict key = keys + step - 1;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) {
            place[j] += is_below<kOrEqual>(key[place[j]], z[j]) ? step : 0;
          }
        }
      }
    });
  }
  template <bool kOrEqual>
  FASTLOSS_HOST_DEVICE static bool is_below(T key, T z) {
    return kOrEqual ? key <= z : key < z;
  }

  // counts[i] = how many negatives have a place beyond i.
  const int64_t* count_places() {
    const int64_t bins = sorted_ + 1;
    int32_t* const histogram = histogram_.data();
    std::fill_n(histogram, kHistograms * bins, 0);
    const int32_t* const place = places_.data();
    for (int64_t k = 0, j = 0; k <= same_count_; ++k, ++j) {
      const int64_t end = k < same_count_ ? same_[k] : m_;
      for (; j + kHistograms <= end; j += kHistograms) {
        for (int64_t h = 0; h < kHistograms; ++h) ++histogram[h * bins + place[j + h]];
      }
      for (; j < end; ++j) ++histogram[place[j]];
    }
    int64_t beyond = 0;
    for (int64_t i = sorted_; i >= 0; --i) {
      counts_[i] = beyond;
      for (int64_t h = 0; h < kHistograms; ++h) beyond += histogram[h * bins + i];
    }
    return counts_.data();
  }

  // Σ_j h_j (z_j − origin), and h_j as derivatives.
  double sum_of_places(double origin, T* dscore) const {
    const T* const row = z_;
    const int32_t* const places = places_.data();
    const int64_t m = m_;
    double sum = 0;
    double* const out = &sum;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      const T* __restrict z = row;
      const int32_t* __restrict place = places;
      double total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < m; ++j) {
        // A masked similarity, −∞, is above no threshold.
        const double height = static_cast<double>(z[j]) - origin;
        total += place[j] > 0 ? place[j] * height : 0.0;
      }
      *out = total;
      if (dscore == nullptr) return;
      T* __restrict out_scores = dscore;
#pragma omp simd
      for (int64_t j = 0; j < m; ++j) out_scores[j] = static_cast<T>(place[j]);
    });
    return sum;
  }

  // One positive against the row.
  double softplus_of(const Item& positive, double margin, T* dscore) const {
    const T* const row = z_;
    const int64_t m = m_;
    const T from = positive.z, by = static_cast<T>(margin);
    double sums[2] = {0, 0};
    double* const out = sums;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      double value = 0, slope = 0;
      for (int64_t first = 0; first < m; first += kSpan) {
        const int64_t width = std::min(kSpan, m - first);
        const T* __restrict z = row + first;
        T terms = 0, slopes = 0, derivative[kSpan];
#pragma omp simd reduction(+ : terms, slopes)
        for (int64_t j = 0; j < width; ++j) {
          // Masked, −∞: 0, and so is its derivative.
          const auto both = math::logistic((z[j] - from) + by);
          terms += both.softplus;
          slopes += both.sigmoid;
          derivative[j] = both.sigmoid;
        }
        value += static_cast<double>(terms);
        slope += static_cast<double>(slopes);
        if (dscore == nullptr) continue;
        T* __restrict out_scores = dscore + first;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) out_scores[j] += derivative[j];
      }
      out[0] = value;
      out[1] = slope;
    });
    if (dscore != nullptr) dscore[positive.column] = -static_cast<T>(sums[1]);
    return sums[0];
  }

  // The sweep's low run are the negatives, which the margin shifts up, its high run the positives.
  double softplus_by_sweeps(double margin, T* dscore) const {
    struct Unweighted {
      static double high(int64_t) { return 1; }
      static double low(int64_t) { return 1; }
    };
    using Sweep = PairSweep<ExponentialSums<T>, 1>;
    const int64_t negatives = negative_count();
    const host::Buffer<SortedItem> items(negatives + sorted_);
    const host::Buffer<double> gradient(dscore != nullptr ? m_ : 0, 0.0);
    int64_t next = 0;
    each_negative([&](T z, int64_t column) { items[next++] = {static_cast<double>(z), column}; });
    std::sort(items.data(), items.data() + negatives,
              [](const SortedItem& a, const SortedItem& b) { return a.score < b.score; });
    for (int64_t i = 0; i < sorted_; ++i) {
      items[next++] = {static_cast<double>(positives_[i].z), positives_[i].column};
    }
    const Sweep sweep(items.data(), {.margin = margin});
    const SweepNode node{0, negatives, negatives + sorted_};
    const int64_t blocks = Sweep::blocks(node);
    const host::Buffer<typename Sweep::Ends> ends(blocks);
    for (int64_t b = 0; b < blocks; ++b) sweep.sums(node, b, Unweighted{}, ends[b]);
    sweep.carry(ends.data(), blocks);
    double value = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      value += sweep.sweep(node, b, Unweighted{}, &ends[b],
                           dscore != nullptr ? gradient.data() : nullptr);
    }
    for (int64_t j = 0; dscore != nullptr && j < m_; ++j) dscore[j] = static_cast<T>(gradient[j]);
    return value;
  }

  // A sweep would form ∞ − ∞ where the sum over pairs does not.
  bool is_finite() const {
    bool finite = true;
    for (int64_t i = 0; i < sorted_; ++i) finite &= std::isfinite(positives_[i].z);
    each_negative([&](T z, int64_t) { finite &= std::isfinite(z); });
    return finite;
  }

  int64_t m_;
  T* z_ = nullptr;  // the row: similarities of negatives, −∞ elsewhere
  const int64_t* same_ = nullptr;
  int64_t same_count_ = 0, positive_count_ = 0, sorted_ = 0;
  double poison_ = 0;
  host::Buffer<Item> positives_;
  host::Buffer<T> keys_;
  host::Buffer<int32_t> histogram_;
  host::Buffer<int64_t> counts_;
  host::Buffer<int32_t> places_;
};

}  // namespace fastloss
