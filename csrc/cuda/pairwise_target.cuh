// Targets that are the diagonal: known ahead of all other scores, or last.
#pragma once

#include "cuda/pairwise_coefficients.cuh"

namespace fastloss::device {

// z of every row's target, its own column. Its rounding error is in every gap of the row, so the
// product is summed in double; from there on it goes the way of all other scores, so that what the
// row's norm and the scale are rounded by cancels in the gaps.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void target_similarities(Scores<S, T> scores) {
  const int64_t i = detail::row_of_warp();
  if (i >= scores.query.count) return;
  double product = 0;
  for (int64_t c = lane(); c < scores.query.d; c += kWarp) {
    product += static_cast<double>(scores.query.feature(i, c)) *
               static_cast<double>(scores.key.feature(i, c));
  }
  product = warp_sum(product);
  if (lane() != 0) return;
  const int64_t first = i / kSpan * kSpan;
  T span[kSpan];
#pragma unroll
  for (int j = 0; j < kSpan; ++j) span[j] = static_cast<T>(product);
  similarities(scores.kind, scores.scale.get(), scores.query, i, scores.key, first, span);
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    if (first + j == i) scores.target_similarity[i] = span[j];
  }
}

// What the targets' derivatives add to the gradients of rows and keys, row i and column i being a
// pair. Gradients are times `unit`; null ones are not wanted.
template <class Row, class S, class T, class Sums>
FASTLOSS_KERNEL(kBlock, 4)
void add_targets(Scores<S, T> scores, const Row* rows, const T* factor, Scalar<T> unit, T* query,
                 T* key, Sums* sums, ColumnSums<T>* column_sums) {
  const int64_t i = detail::row_of_warp();
  if (i >= scores.query.count) return;
  const T w = coefficient(scores.kind, scores.scale.get(), scores.target_similarity[i],
                          scores.query.statistic_of(i) * scores.key.statistic_of(i),
                          factor[i] * rows[i].dtarget);
  if (lane() == 0) {
    sums[i].weight += w;
    if (column_sums != nullptr) column_sums[i].weight += w;
  }
  const T step = w * unit.get();
  const int64_t d = scores.query.d;
  for (int64_t c = lane(); c < d; c += kWarp) {
    if (query != nullptr) query[i * d + c] += step * scores.key.feature(i, c);
    if (key != nullptr) key[i * d + c] += step * scores.query.feature(i, c);
  }
}

template <class State, class T>
FASTLOSS_KERNEL(kBlock, 4)
void states_of_sums(const RowSums<State, T>* sums, int64_t count, State* states) {
  const int64_t i = block().x * kBlock + thread();
  if (i < count) states[i] = sums[i].state;
}

}  // namespace fastloss::device
