// Batch-hard triplets (Hermans, Beyer, Leibe 2017, arXiv:1703.07737), the search of one anchor: of
// the candidates of its label the least similar one, its hardest positive, and of all others the
// most similar one, its hardest negative. What is made of the two is the loss of a triplet
// (triplet_margin_loss.h); the choice has no derivative.
//
// Extrema are a monoid: the larger value or, of equal ones, the lower candidate. A NaN is larger
// than anything, so that it reaches the loss of every anchor that it concerns.
//
// Lanes advance side by side, from the last candidate to the first, so that “at least as large”
// leaves the lowest. Places are counted in T: all lanes are of one width.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/host_device.h"
#include "core/lse.h"

namespace fastloss {

template <class T>
struct BatchHardTripletLoss {
  using Value = T;

  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  struct Extreme {
    T value = -math::kInfinity<T>;
    int64_t candidate = kNone;

    FASTLOSS_HOST_DEVICE void merge(const Extreme& other) {
      const bool lower = other.candidate < candidate;
      const bool larger = other.value != other.value
                              ? value == value || lower
                              : other.value > value || (other.value == value && lower);
      if (larger) *this = other;
    }
  };

  struct State {
    Extreme positive;  // of minus the similarity
    Extreme negative;

    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      positive.merge(other.positive);
      negative.merge(other.negative);
    }
  };

  // Candidates; kNone where there is none.
  struct Row {
    int64_t positive, negative;
  };

  const int32_t* label;  // of the candidates

  static constexpr bool kPaired = false;

  FASTLOSS_HOST_DEVICE State push(const T* s, int64_t row, int64_t column, int64_t count) const {
    const int64_t itself = row - column;
    if (itself < 0 || itself >= count) return of_span(s, row, column, count);
    State state = of_span(s, row, column, itself);
    state.merge(of_span(s + itself + 1, row, row + 1, count - itself - 1));
    return state;
  }

  // The scores [begin, end) of kCount, of candidates that are not the row, in loops whose length is
  // known: on a device scores are in registers, which have no addresses.
  template <int kCount>
  FASTLOSS_HOST_DEVICE State push_part(const T* s, int64_t row, int64_t column, int begin,
                                       int end) const {
    const int32_t mine = label[row];
    T least = math::kInfinity<T>, largest = -math::kInfinity<T>;
    int positive = -1, negative = -1;
    FASTLOSS_UNROLL
    for (int j = kCount - 1; j >= 0; --j) {
      const T z = s[j];
      const bool there = (j >= begin) & (j < end), same = label[column + j] == mine,
                 is_nan = z != z;
      const bool farther = there & same & (is_nan | (z <= least));
      const bool nearer = there & !same & (is_nan | (z >= largest));
      least = farther ? z : least;
      positive = farther ? j : positive;
      largest = nearer ? z : largest;
      negative = nearer ? j : negative;
    }
    State state;
    if (positive >= 0) state.positive = {-least, column + positive};
    if (negative >= 0) state.negative = {largest, column + negative};
    return state;
  }

  // Merges the scores tile[r][j], r < rows, into states[j], j < cols.
  FASTLOSS_HOST_DEVICE void push_columns(const T* __restrict tile, int64_t stride, int64_t rows,
                                         int64_t cols, int64_t row, int64_t column,
                                         State* __restrict states) const {
    Lanes<kMaxColumns> lanes(cols);
    for (int64_t r = rows - 1; r >= 0; --r) {
      lanes.visit(tile + r * stride, label + column, label[row + r], cols, static_cast<T>(r));
    }
    for (int64_t j = 0; j < cols; ++j) {
      states[j].merge({lanes.positive(j, row, 1), lanes.negative(j, row, 1)});
    }
  }

  FASTLOSS_HOST_DEVICE static Row finish(const State& state, T /*target*/) {
    return {state.positive.candidate, state.negative.candidate};
  }

 private:
  static constexpr int64_t kLanes = 32;

  // Extrema of the lanes, and the step at which each was met; −1: none.
  template <int64_t kMost>
  struct Lanes {
    T least[kMost], least_step[kMost];      // positives, by similarity
    T largest[kMost], largest_step[kMost];  // negatives

    FASTLOSS_HOST_DEVICE explicit Lanes(int64_t count) {
      for (int64_t j = 0; j < count; ++j) {
        least[j] = math::kInfinity<T>;
        largest[j] = -math::kInfinity<T>;
        least_step[j] = largest_step[j] = -1;
      }
    }

    FASTLOSS_HOST_DEVICE void visit(const T* __restrict s, const int32_t* __restrict theirs,
                                    int32_t mine, int64_t count, T step) {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const T z = s[j];
        const bool same = theirs[j] == mine, other = theirs[j] != mine, is_nan = z != z;
        const bool farther = same & (is_nan | (z <= least[j]));
        const bool nearer = other & (is_nan | (z >= largest[j]));
        least[j] = farther ? z : least[j];
        least_step[j] = farther ? step : least_step[j];
        largest[j] = nearer ? z : largest[j];
        largest_step[j] = nearer ? step : largest_step[j];
      }
    }

    // Of lane j, which meets candidate first + width · step.
    FASTLOSS_HOST_DEVICE Extreme positive(int64_t j, int64_t first, int64_t width) const {
      return at(-least[j], least_step[j], first, width);
    }
    FASTLOSS_HOST_DEVICE Extreme negative(int64_t j, int64_t first, int64_t width) const {
      return at(largest[j], largest_step[j], first, width);
    }

   private:
    FASTLOSS_HOST_DEVICE static Extreme at(T value, T step, int64_t first, int64_t width) {
      if (step < T(0)) return {};
      return {value, first + width * static_cast<int64_t>(step)};
    }
  };

  FASTLOSS_HOST_DEVICE State of_span(const T* __restrict s, int64_t row, int64_t column,
                                     int64_t count) const {
    Lanes<kLanes> lanes(kLanes);
    const int64_t steps = (count + kLanes - 1) / kLanes;
    for (int64_t step = steps - 1; step >= 0; --step) {
      const int64_t first = step * kLanes;
      lanes.visit(s + first, label + column + first, label[row], std::min(kLanes, count - first),
                  static_cast<T>(step));
    }
    State state;
    for (int64_t j = 0; j < kLanes; ++j) {
      state.merge({lanes.positive(j, column + j, kLanes), lanes.negative(j, column + j, kLanes)});
    }
    return state;
  }
};

}  // namespace fastloss
