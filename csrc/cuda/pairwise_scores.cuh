// Scores of a chunk, as the passes over it read them, and the states of rows and columns.
//
// A row belongs to a warp, or, where rows are long, to a block; a thread takes kSpan neighbouring
// columns at a time. Columns belong to threads, kSpan of them each, which go down a group of rows.
#pragma once

#include "cuda/operands.cuh"
#include "cuda/pairwise_input.h"
#include "engines/pairwise.h"

namespace fastloss::device {

// A rectangle of the score matrix: rows [row, row + rows), columns [col, col + cols), products as
// the library wrote them. `col` and `stride` are multiples of 8.
template <class T>
struct Chunk {
  T* scores;
  int64_t stride;
  int64_t row, rows;
  int64_t col, cols;

  FASTLOSS_HOST_DEVICE T* at(int64_t r, int64_t c) const { return scores + r * stride + c; }
};

// Rows of a group: a column's partial sums over them are one thread's.
constexpr int64_t kGroupRows = 64;
constexpr int kColumnThreads = 128;

template <class S, class T>
struct Scores {
  Side<S, T> query, key;
  Similarity kind;
  Scalar<T> scale;
  T margin;
  const T* key_bias;
  const int64_t* target;
  const int64_t* key_ids;
  T* target_similarity;  // (n): z of the target, margin not taken off

  // What masks a row's columns.
  struct Masks {
    int64_t target, id;
    bool grouped;
  };
  FASTLOSS_DEVICE Masks masks(int64_t row) const {
    const int64_t t = target[row];
    const bool grouped = key_ids != nullptr && t >= 0;
    return {t, grouped ? key_ids[t] : 0, grouped};
  }

  // kSpan similarities from row r, column c of the chunk on, masks set. Returns whether the target
  // is among them; target_z is then its similarity.
  FASTLOSS_DEVICE bool span(const Chunk<T>& chunk, int64_t r, int64_t c, const Masks& of,
                            T (&z)[kSpan], T& target_z) const {
    load_span(chunk.at(r, c), z);
    const int64_t column = chunk.col + c;
    similarities(kind, scale.get(), query, chunk.row + r, key, column, z);
    bool found = false;
#pragma unroll
    for (int j = 0; j < kSpan; ++j) {
      const bool inside = c + j < chunk.cols;
      const bool is_target = column + j == of.target && inside;
      if (is_target) target_z = z[j];
      found |= is_target;
      const bool masked = !inside || is_target || (of.grouped && key_ids[column + j] == of.id);
      if (masked) z[j] = -math::kInfinity<T>;
    }
    return found;
  }
  FASTLOSS_DEVICE void biases(int64_t column, T (&bias)[kSpan]) const {
    if (key_bias != nullptr) return load_ragged(key_bias, column, key.count, T(0), bias);
#pragma unroll
    for (int j = 0; j < kSpan; ++j) bias[j] = T(0);
  }
  // The target's score, with margin and bias.
  FASTLOSS_DEVICE T target_score(int64_t t, T z) const {
    return z - scale.get() * margin + (key_bias != nullptr ? key_bias[t] : T(0));
  }
};

namespace detail {

// The state of a span of a row.
template <class Loss, class T>
FASTLOSS_DEVICE typename Loss::State push(const Loss& loss, const T (&z)[kSpan],
                                          const T (&bias)[kSpan], int64_t column, T target_z) {
  if constexpr (OnePass<Loss>) {
    T dscore[kSpan];
    return loss.slopes(z, kSpan, target_z, dscore);
  } else {
    return loss.push(z, bias, column, kSpan);
  }
}

// What the threads of a row have found, in its first thread.
template <int kThreads, class State>
FASTLOSS_DEVICE State merge_row(const State& state) {
  if constexpr (kThreads == kWarp) {
    return warp_merge(state);
  } else {
    FASTLOSS_SHARED(State, shared, kWarpsOfBlock);
    return block_merge(state, shared, kWarpsOfBlock);
  }
}

}  // namespace detail

// partial[part][row of the chunk]: the state of the part's columns; and the targets' similarities.
// Expected: one read of the chunk.
template <int kThreads, class Loss, class S, class T = typename Loss::Value>
FASTLOSS_KERNEL(kBlock, 2)
void row_states(Scores<S, T> scores, DeviceLoss<Loss> functor, Chunk<T> chunk, int64_t part_cols,
                typename Loss::State* partial) {
  const int64_t r = block().x * (kBlock / kThreads) + thread() / kThreads;
  if (r >= chunk.rows) return;
  const int64_t row = chunk.row + r;
  const int rank = thread() % kThreads;
  const Loss loss = functor.get();
  const auto masks = scores.masks(row);
  T target_z = 0;
  if constexpr (TargetFirst<Loss>) target_z = scores.target_similarity[row];
  const int64_t first = block().y * part_cols;
  const int64_t last = first + part_cols < chunk.cols ? first + part_cols : chunk.cols;
  typename Loss::State state;
  for (int64_t c = first + rank * kSpan; c < last; c += kThreads * kSpan) {
    T z[kSpan], bias[kSpan], found = 0;
    if (scores.span(chunk, r, c, masks, z, found)) {
      if constexpr (!TargetFirst<Loss>) scores.target_similarity[row] = found;
    }
    scores.biases(chunk.col + c, bias);
    state.merge(detail::push(loss, z, bias, chunk.col + c, target_z));
  }
  state = detail::merge_row<kThreads>(state);
  if (rank == 0) partial[block().y * chunk.rows + r] = state;
}

// partial[group][column of the chunk]: the state of the group's rows.
// Expected: one read of the chunk.
template <class Loss, class S, class T = typename Loss::Value>
FASTLOSS_KERNEL(kColumnThreads, (sizeof(T) == 8 ? 2 : 3))  // more would spill doubles
void column_states(Scores<S, T> scores, DeviceLoss<Loss> functor, Chunk<T> chunk,
                   typename Loss::State* partial) {
  const int64_t c = (block().x * kColumnThreads + thread()) * kSpan;
  if (c >= chunk.cols) return;
  const Loss loss = functor.get();
  const int64_t first = block().y * kGroupRows;
  const int64_t last = first + kGroupRows < chunk.rows ? first + kGroupRows : chunk.rows;
  typename Loss::State states[kSpan];
  const T no_bias[kSpan] = {};
  for (int64_t r = first; r < last; r += kSpan) {
    // turned[j]: kSpan rows of column j.
    T turned[kSpan][kSpan];
#pragma unroll
    for (int k = 0; k < kSpan; ++k) {
      T z[kSpan], found;
#pragma unroll
      for (int j = 0; j < kSpan; ++j) z[j] = -math::kInfinity<T>;
      if (r + k < last) {
        scores.span(chunk, r + k, c, scores.masks(chunk.row + r + k), z, found);
      }
#pragma unroll
      for (int j = 0; j < kSpan; ++j) turned[j][k] = z[j];
    }
#pragma unroll
    for (int j = 0; j < kSpan; ++j) {
      states[j].merge(loss.push(turned[j], no_bias, chunk.row + r, kSpan));
    }
  }
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    if (c + j < chunk.cols) partial[block().y * chunk.cols + c + j] = states[j];
  }
}

// total[i] (+)= partial[0][i] + partial[1][i] + …, `count` of them side by side.
template <class V>
FASTLOSS_KERNEL(kBlock, 4)
void merge_parts(const V* partial, int64_t parts, int64_t count, bool first, V* total) {
  const int64_t i = block().x * kBlock + thread();
  if (i >= count) return;
  V sum = first ? V{} : total[i];
  for (int64_t p = 0; p < parts; ++p) sum.merge(partial[p * count + i]);
  total[i] = sum;
}

// States to rows; own: the states of rows' own negatives, or null.
template <class Loss, class S, class T = typename Loss::Value>
FASTLOSS_KERNEL(kBlock, 4)
void finish_rows(Scores<S, T> scores, DeviceLoss<Loss> functor, const typename Loss::State* states,
                 const typename Loss::State* own, int64_t first, int64_t count,
                 typename Loss::Row* rows) {
  const int64_t i = first + block().x * kBlock + thread();
  if (i >= first + count) return;
  const Loss loss = functor.get();
  typename Loss::State state = states[i];
  if (own != nullptr) state.merge(own[i]);
  const int64_t t = scores.target[i];
  if (t < 0) {
    rows[i] = loss.finish(state, -math::kInfinity<T>, kNoTarget);
  } else {
    rows[i] = loss.finish(state, scores.target_score(t, scores.target_similarity[i]), t);
  }
}

}  // namespace fastloss::device
