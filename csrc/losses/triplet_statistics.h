// What the triplets of one anchor are like: how many there are of each kind, by the distances d_p
// and d_n of positive and negative, and the sums of the distances.
//
//     active     d_n < d_p + m
//     hard       d_n ≤ d_p
//     semi-hard  d_p < d_n < d_p + m: active and not hard (a margin of 0 leaves none)
// No distance that is NaN is in any of these counts; the sums have it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace fastloss {

template <class T>
struct TripletStatistics {
  using Value = T;

  // Distances are −z here: 1 − cos is that and 1.
  struct Row {
    int64_t valid = 0, active = 0, hard = 0, semi_hard = 0, positives = 0, negatives = 0;
    double positive_sum = 0, negative_sum = 0;

    void add(const Row& other) {
      valid += other.valid, active += other.active;
      hard += other.hard, semi_hard += other.semi_hard;
      positives += other.positives, negatives += other.negatives;
      positive_sum += other.positive_sum, negative_sum += other.negative_sum;
    }
  };

  double margin;

  template <class Pairs>
  Row row(Pairs& pairs, T* /*dscore*/) const {
    Row row;
    row.positives = pairs.positive_count();
    row.negatives = pairs.negative_count();
    row.valid = pairs.count();
    const int64_t sorted = pairs.sorted();
    if (sorted < row.positives) row.positive_sum = std::numeric_limits<double>::quiet_NaN();
    for (int64_t i = 0; i < sorted; ++i) {
      row.positive_sum -= static_cast<double>(pairs.positive(i).z);
    }
    pairs.each_negative([&](T z, int64_t) { row.negative_sum -= static_cast<double>(z); });

    const int64_t* counts = pairs.as_near();
    for (int64_t i = 0; i < sorted; ++i) row.hard += counts[i];
    counts = pairs.nearer(margin);
    for (int64_t i = 0; i < sorted; ++i) row.active += counts[i];
    row.semi_hard = std::max<int64_t>(0, row.active - row.hard);
    return row;
  }
};

}  // namespace fastloss
