// The log-sum-exp state of the whole house: log Σ exp(score) kept as (max, Σ exp(score − max)).
//
// A monoid: `LseState{}` is the empty sum, `merge` is associative up to rounding (Milakov &
// Gimelshein 2018, arXiv:1805.02867). −inf scores are masked terms; a NaN score makes the sum NaN.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/math.h"
#include "core/simd.h"

namespace fastloss {

template <class T>
struct LseState {
  T max = -math::kInfinity<T>;
  T sum = 0;

  // −inf − −inf is NaN: with nothing but masked terms the shift is 0 and every term exp(−inf) = 0.
  FASTLOSS_HOST_DEVICE static T shift(T max) { return max == -math::kInfinity<T> ? T(0) : max; }

  FASTLOSS_HOST_DEVICE void merge(const LseState& other) {
    const T larger = other.max > max ? other.max : max;
    const T reference = shift(larger);
    sum = sum * math::exp_up_to_0(max - reference) +
          other.sum * math::exp_up_to_0(other.max - reference);
    max = larger;
  }

  FASTLOSS_HOST_DEVICE void push(T score) {
    merge(LseState{score, score == -math::kInfinity<T> ? T(0) : T(1)});
  }

  // Nothing but masked terms; a NaN is none.
  FASTLOSS_HOST_DEVICE bool empty() const { return sum == T(0); }

  // log Σ exp(score); −inf when empty.
  FASTLOSS_HOST_DEVICE T value() const {
    using std::log;
    return max + log(sum);
  }
  // log Σ exp(score − x), without rounding anything to the size of the scores.
  FASTLOSS_HOST_DEVICE T above(T x) const {
    using std::log;
    return (max - x) + log(sum);
  }
};

// How scores become probabilities. In two parts: log Σ exp(score) would be rounded to the size of
// the scores, and with it, to the same side, every probability of a row.
template <class T>
struct Normaliser {
  T max = 0;      // never −inf
  T inverse = 0;  // 1 / Σ exp(score − max); 0: there is nothing but masked scores

  template <class Sum>
  static FASTLOSS_HOST_DEVICE Normaliser of(const Sum& all) {
    return {LseState<T>::shift(all.max), static_cast<T>(1 / all.sum)};
  }
  static FASTLOSS_HOST_DEVICE Normaliser load(const T* fields, int64_t stride) {
    return {fields[0], fields[stride]};
  }
  FASTLOSS_HOST_DEVICE void store(T* fields, int64_t stride) const {
    fields[0] = max;
    fields[stride] = inverse;
  }
  FASTLOSS_HOST_DEVICE bool counts() const { return !(inverse == T(0)); }
  FASTLOSS_HOST_DEVICE T probability(T score) const {
    return inverse * math::exp_up_to_0(score - max);
  }
  // The sum of the probabilities of a part of the scores.
  FASTLOSS_HOST_DEVICE T probability(const LseState<T>& part) const {
    return part.sum * probability(part.max);
  }
};

// Largest of score(j), j < count.
template <class T, class Score>
FASTLOSS_HOST_DEVICE T max_of_scores(int64_t count, const Score& score) {
  T max = -math::kInfinity<T>;
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < count; ++j) {
    const T s = score(j);
    max = s > max ? s : max;
  }
  return max;
}

// State of score(j), j < count.
template <class T, class Score>
FASTLOSS_HOST_DEVICE LseState<T> lse_of_scores(int64_t count, const Score& score) {
  const T max = max_of_scores<T>(count, score);
  const T reference = LseState<T>::shift(max);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) sum += math::exp_up_to_0(score(j) - reference);
  return {max, sum};
}

// State of the scores similarity[j] + bias[j].
template <class T>
FASTLOSS_HOST_DEVICE LseState<T> lse_of_span(const T* __restrict similarity,
                                             const T* __restrict bias, int64_t count) {
  return lse_of_scores<T>(count,
                          [=](int64_t j) FASTLOSS_SIMD_LOOP { return similarity[j] + bias[j]; });
}

// The same, and similarity[j] becomes exp(score_j − max) · factor[j]. With the row's log-sum-exp
// known later, one multiplication by probability(max) makes it the probability: one exp an
// element for loss and gradient together.
template <class T>
FASTLOSS_HOST_DEVICE LseState<T> weigh_span(T* __restrict similarity, const T* __restrict bias,
                                            const T* __restrict factor, int64_t count) {
  const T max = max_of_scores<T>(
      count, [=](int64_t j) FASTLOSS_SIMD_LOOP { return similarity[j] + bias[j]; });
  const T reference = LseState<T>::shift(max);
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    const T term = math::exp_up_to_0(similarity[j] + bias[j] - reference);
    sum += term;
    similarity[j] = term * factor[j];
  }
  return {max, sum};
}

// Longest span that the column loops below take.
constexpr int64_t kMaxColumns = 256;

// Merges the columns of a tile, tile[r][j] with r < rows, into states[j].lse, j < cols. Columns
// advance side by side: all loops run along the rows as they lie in memory.
template <class T, class State>
FASTLOSS_HOST_DEVICE void merge_lse_of_columns(const T* __restrict tile, int64_t stride,
                                               int64_t rows, int64_t cols,
                                               State* __restrict states) {
  T max[kMaxColumns], reference[kMaxColumns], sum[kMaxColumns];
  for (int64_t j = 0; j < cols; ++j) max[j] = states[j].lse.max;
  for (int64_t r = 0; r < rows; ++r) {
    const T* __restrict row = tile + r * stride;
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) max[j] = row[j] > max[j] ? row[j] : max[j];
  }
  for (int64_t j = 0; j < cols; ++j) {
    reference[j] = LseState<T>::shift(max[j]);
    sum[j] = states[j].lse.sum * math::exp_up_to_0(states[j].lse.max - reference[j]);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const T* __restrict row = tile + r * stride;
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) sum[j] += math::exp_up_to_0(row[j] - reference[j]);
  }
  for (int64_t j = 0; j < cols; ++j) states[j].lse = {max[j], sum[j]};
}

// Sum and number of the scores that are not masked: what a uniform target needs of a row.
template <class T>
struct ScoreSum {
  T total = 0;
  T count = 0;

  FASTLOSS_HOST_DEVICE void push(T score) {
    const bool allowed = !(score == -math::kInfinity<T>);
    total += allowed ? score : T(0);
    count += allowed ? T(1) : T(0);
  }
  FASTLOSS_HOST_DEVICE void merge(const ScoreSum& other) {
    total += other.total;
    count += other.count;
  }
};

template <class T>
FASTLOSS_HOST_DEVICE ScoreSum<T> sum_of_span(const T* __restrict similarity,
                                             const T* __restrict bias, int64_t count) {
  T total = 0;
  T allowed = 0;
#pragma omp simd reduction(+ : total, allowed)
  for (int64_t j = 0; j < count; ++j) {
    const T score = similarity[j] + bias[j];
    const bool masked = score == -math::kInfinity<T>;
    total += masked ? T(0) : score;
    allowed += masked ? T(0) : T(1);
  }
  return {total, allowed};
}

}  // namespace fastloss
