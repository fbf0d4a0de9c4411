// SupCon, the supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, L_out), one row:
// with P the candidates of the row's label and A all candidates,
//     L = log Σ_{a ∈ A} exp s_a − (1/|P|) Σ_{p ∈ P} s_p,      ∂L/∂s_a = p_a − [a ∈ P] / |P|.
// Both terms are taken relative to the row's maximum m. With X = Σ_P exp(s − m), Y the same sum
// over the other candidates and Z = X + Y,
//     L = log1p((X − 1) + Y) + (1/|P|) Σ_P (m − s_p),
// neither term of which is negative. A loss is small only where one positive stands above all else:
// then X is 1, the second term 0, and L = log1p(Y) keeps all its digits, as the derivative does
// when 1/|P| is written (X + Y) / (|P| Z):
//     ∂L/∂s_p = ((exp(s_p − m) − X/|P|) − Y/|P|) / Z,         ∂L/∂s_a = exp(s_a − m) / Z.
// A row without a positive has nothing to average: value 0, every derivative 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/lse.h"
#include "losses/softmax_row.h"

namespace fastloss {

template <class T>
struct SupCon {
  using Value = T;

  struct State {
    T max = -math::kInfinity<T>;
    T positives = 0;  // X
    T others = 0;     // Y
    T gap = 0;        // Σ_P (max − s_p)
    T count = 0;      // |P|, exact below 2^24 in float

    // The sums relative to a larger maximum.
    FASTLOSS_HOST_DEVICE State moved(T larger) const {
      if (max == -math::kInfinity<T>) return {larger, positives, others, gap, count};  // no terms
      const T factor = math::exp_up_to_0(max - larger);
      return {larger, positives * factor, others * factor, gap + count * (larger - max), count};
    }
    FASTLOSS_HOST_DEVICE void merge(const State& other) {
      const T larger = other.max > max ? other.max : max;
      const State a = moved(larger), b = other.moved(larger);
      *this = {larger, a.positives + b.positives, a.others + b.others, a.gap + b.gap,
               a.count + b.count};
    }
  };

  struct Row {
    T value;    // L
    T max;      // +inf: the row has nothing to average
    T inverse;  // 1/Z
    T mean;     // X/|P|
    T share;    // Y/|P|

    FASTLOSS_HOST_DEVICE bool counts() const { return !(inverse == T(0)); }
  };

  const int32_t* label;  // of the candidates

  static constexpr bool kPaired = false;
  static constexpr int kOptions = 0;
  static SupCon make(const double* /*options*/, const int32_t* label) { return {label}; }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict s, int64_t row, int64_t column,
                                  int64_t count) const {
    const int32_t mine = label[row];
    const int32_t* __restrict theirs = label + column;
    const T max = max_of(s, count);
    const T reference = LseState<T>::shift(max);
    T positives = 0, others = 0, gap = 0, number = 0;
#pragma omp simd reduction(+ : positives, others, gap, number)
    for (int64_t j = 0; j < count; ++j) {
      const T term = math::exp_up_to_0(s[j] - reference);
      const bool positive = is_positive(mine, theirs[j], s[j]);
      positives += positive ? term : T(0);
      others += positive ? T(0) : term;
      gap += positive ? reference - s[j] : T(0);
      number += positive ? T(1) : T(0);
    }
    return {max, positives, others, gap, number};
  }

  // Merges the scores tile[r][j], r < rows, into states[j], j < cols. Columns advance side by side:
  // all loops run along the rows as they lie in memory.
  FASTLOSS_HOST_DEVICE void push_columns(const T* __restrict tile, int64_t stride, int64_t rows,
                                         int64_t cols, int64_t row, int64_t column,
                                         State* __restrict states) const {
    T max[kMaxColumns], positives[kMaxColumns], others[kMaxColumns], gap[kMaxColumns],
        number[kMaxColumns];
    const int32_t* __restrict theirs = label + column;
    for (int64_t j = 0; j < cols; ++j) max[j] = -math::kInfinity<T>;
    for (int64_t r = 0; r < rows; ++r) {
      const T* __restrict s = tile + r * stride;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) max[j] = s[j] > max[j] ? s[j] : max[j];
    }
    for (int64_t j = 0; j < cols; ++j) {
      max[j] = LseState<T>::shift(max[j]);
      positives[j] = others[j] = gap[j] = number[j] = 0;
    }
    for (int64_t r = 0; r < rows; ++r) {
      const T* __restrict s = tile + r * stride;
      const int32_t mine = label[row + r];
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) {
        const T term = math::exp_up_to_0(s[j] - max[j]);
        const bool positive = is_positive(mine, theirs[j], s[j]);
        positives[j] += positive ? term : T(0);
        others[j] += positive ? T(0) : term;
        gap[j] += positive ? max[j] - s[j] : T(0);
        number[j] += positive ? T(1) : T(0);
      }
    }
    for (int64_t j = 0; j < cols; ++j) {
      states[j].merge({max[j], positives[j], others[j], gap[j], number[j]});
    }
  }

  FASTLOSS_HOST_DEVICE static Row finish(const State& state, T /*target*/) {
    using std::log1p;
    if (state.count == T(0)) return {T(0), math::kInfinity<T>, T(0), T(0), T(0)};
    return {log1p((state.positives - T(1)) + state.others) + state.gap / state.count, state.max,
            T(1) / (state.positives + state.others), state.positives / state.count,
            state.others / state.count};
  }

  // out[j] = factor · ∂L/∂s_j.
  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict s, int64_t row, int64_t column,
                                    int64_t count, const Row& of, T factor,
                                    T* __restrict out) const {
    const int32_t mine = label[row];
    const int32_t* __restrict theirs = label + column;
    const T max = of.max, mean = of.mean, share = of.share, slope = factor * of.inverse;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      out[j] = slope * derivative(s[j], is_positive(mine, theirs[j], s[j]), max, mean, share);
    }
  }

  // Adds factor[j] · ∂L_j/∂s_j to out[j].
  FASTLOSS_HOST_DEVICE void add_columns(const T* __restrict s, int64_t row, int64_t column,
                                        int64_t count, const T* __restrict fields, int64_t stride,
                                        const T* __restrict factor, T* __restrict out) const {
    const int32_t mine = label[row];
    const int32_t* __restrict theirs = label + column;
    const T* __restrict max = fields + stride * (offsetof(Row, max) / sizeof(T));
    const T* __restrict inverse = fields + stride * (offsetof(Row, inverse) / sizeof(T));
    const T* __restrict mean = fields + stride * (offsetof(Row, mean) / sizeof(T));
    const T* __restrict share = fields + stride * (offsetof(Row, share) / sizeof(T));
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      out[j] += factor[j] * inverse[j] *
                derivative(s[j], is_positive(mine, theirs[j], s[j]), max[j], mean[j], share[j]);
    }
  }

 private:
  // A row's score with itself is masked (−inf): it has its own label, but is no candidate.
  FASTLOSS_HOST_DEVICE static bool is_positive(int32_t mine, int32_t theirs, T s) {
    return (mine == theirs) & !(s == -math::kInfinity<T>);
  }
  // Times Z.
  FASTLOSS_HOST_DEVICE static T derivative(T s, bool positive, T max, T mean, T share) {
    const T term = math::exp_up_to_0(s - max);
    return positive ? (term - mean) - share : term;
  }
};

}  // namespace fastloss
