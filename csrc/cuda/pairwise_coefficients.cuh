// Scores of a chunk to coefficients w in place, and the sums that the gradients ask for besides.
#pragma once

#include "cuda/pairwise_scores.cuh"

namespace fastloss::device {

// What is known of a row after its w: the state (one pass), Σ ∂L/∂s · z and Σ w.
template <class State, class T>
struct RowSums {
  State state;
  double moment = 0;
  T weight = 0;

  FASTLOSS_HOST_DEVICE void merge(const RowSums& other) {
    state.merge(other.state);
    moment += other.moment;
    weight += other.weight;
  }
};

// Of a column: Σ ∂L/∂s and Σ w.
template <class T>
struct ColumnSums {
  T bias = 0;
  T weight = 0;

  FASTLOSS_HOST_DEVICE void merge(const ColumnSums& other) {
    bias += other.bias;
    weight += other.weight;
  }
};

// The rules below say what ∂L/∂s is. `of(row)` holds what a row needs; then
//     span(of, z, bias, column, dscore)     ∂L/∂s of a span, and what it adds to the row's state
//     target(of, row, score, t)             ∂L/∂s of the target, which the span had masked
// All of it is times the row's factor.

// Losses of rows.
template <class Loss>
struct RowRule {
  using Functor = Loss;
  using T = typename Loss::Value;
  using State = typename Loss::State;
  static constexpr bool kWithState = false;

  DeviceLoss<Loss> loss;
  const typename Loss::Row* rows;
  const T* factor;

  struct Of {
    Loss loss;
    typename Loss::Row row;
    T factor;
  };
  FASTLOSS_DEVICE Of of(int64_t row) const { return {loss.get(), rows[row], factor[row]}; }

  FASTLOSS_DEVICE void span(const Of& of, const T (&z)[kSpan], const T (&bias)[kSpan],
                            int64_t column, T (&dscore)[kSpan], State&) const {
    of.loss.dscores(z, bias, column, kSpan, of.row, of.factor, dscore);
  }
  FASTLOSS_DEVICE T target(const Of& of, int64_t /*row*/, T /*score*/, int64_t /*t*/) const {
    return of.factor * of.row.dtarget;
  }
};

// Losses of rows and of columns. Field f of column j is fields[f · stride + j], the factor of its
// gradient the field after the last.
template <class Loss>
struct SymmetricRule {
  using Functor = Loss;
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Row = typename Loss::Row;
  static constexpr bool kWithState = false;
  static constexpr int64_t kFields = sizeof(Row) / sizeof(T);

  DeviceLoss<Loss> loss;
  const Row* rows;
  const Row* cols;
  const T* factor;
  const T* fields;
  int64_t stride;

  struct Of {
    Loss loss;
    Row row;
    T factor;
  };
  FASTLOSS_DEVICE Of of(int64_t row) const { return {loss.get(), rows[row], factor[row]}; }

  FASTLOSS_DEVICE void span(const Of& of, const T (&z)[kSpan], const T (&bias)[kSpan],
                            int64_t column, T (&dscore)[kSpan], State&) const {
    of.loss.dscores(z, bias, column, kSpan, of.row, of.factor, dscore);
    of.loss.add_columns(z, fields + column, stride, fields + kFields * stride + column, kSpan,
                        dscore);
  }
  FASTLOSS_DEVICE T target(const Of& of, int64_t row, T /*score*/, int64_t /*t*/) const {
    return of.factor * (of.row.dtarget + cols[row].dtarget);
  }
};

// Losses without a normaliser.
template <class Loss>
struct OnePassRule {
  using Functor = Loss;
  using T = typename Loss::Value;
  using State = typename Loss::State;
  static constexpr bool kWithState = true;

  DeviceLoss<Loss> loss;
  const T* factor;
  const T* target_similarity;

  struct Of {
    Loss loss;
    T factor, target_z;
  };
  FASTLOSS_DEVICE Of of(int64_t row) const {
    return {loss.get(), factor[row], TargetFirst<Loss> ? target_similarity[row] : T(0)};
  }

  FASTLOSS_DEVICE void span(const Of& of, const T (&z)[kSpan], const T (&)[kSpan], int64_t,
                            T (&dscore)[kSpan], State& state) const {
    state.merge(of.loss.slopes(z, kSpan, of.target_z, dscore));
#pragma unroll
    for (int j = 0; j < kSpan; ++j) dscore[j] *= of.factor;
  }
  // Where the target's derivative is known last, add_targets brings it.
  FASTLOSS_DEVICE T target(const Of& of, int64_t /*row*/, T score, int64_t t) const {
    if constexpr (TargetFirst<Loss>) {
      return T(0);
    } else {
      return of.factor * of.loss.finish(State{}, score, t).dtarget;
    }
  }
};

namespace detail {

// A span's ∂L/∂s and w, the target's among them.
template <class T>
struct Derived {
  T dscore[kSpan], w[kSpan];
};

template <class Rule, class S, class T>
FASTLOSS_DEVICE Derived<T> derive(const Scores<S, T>& scores, const Rule& rule,
                                  const typename Rule::Of& of, const Chunk<T>& chunk, int64_t r,
                                  int64_t c, const typename Scores<S, T>::Masks& masks,
                                  bool with_moment, RowSums<typename Rule::State, T>& sums) {
  const int64_t row = chunk.row + r, column = chunk.col + c;
  T z[kSpan], bias[kSpan], others[kSpan], target_z = 0;
  const bool found = scores.span(chunk, r, c, masks, z, target_z);
  scores.biases(column, bias);
  Derived<T> out;
  rule.span(of, z, bias, column, out.dscore, sums.state);
  if (with_moment) {
    T moment = 0;
#pragma unroll
    for (int j = 0; j < kSpan; ++j) {
      moment += z[j] == -math::kInfinity<T> ? T(0) : out.dscore[j] * z[j];
    }
    sums.moment += static_cast<double>(moment);
  }
  if (found) {
    if constexpr (Rule::kWithState && !TargetFirst<typename Rule::Functor>) {
      scores.target_similarity[row] = target_z;
    }
    const T dtarget =
        rule.target(of, row, scores.target_score(masks.target, target_z), masks.target);
    if (with_moment) {
      sums.moment += static_cast<double>(dtarget * (target_z - scores.scale.get() * scores.margin));
    }
#pragma unroll
    for (int j = 0; j < kSpan; ++j) {
      if (column + j != masks.target) continue;
      out.dscore[j] = dtarget;
      z[j] = target_z;
    }
  }
  const T own = scores.query.statistic_of(row);
  scores.key.statistics(column, others);
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    out.w[j] = coefficient(scores.kind, scores.scale.get(), z[j], own * others[j], out.dscore[j]);
    // Past the end scores are −inf, which have no derivative. An ignored row has factor 0, but 0
    // times the NaN of a refused class weight is NaN.
    if (masks.target == kIgnoredRow) out.w[j] = out.dscore[j] = T(0);
    sums.weight += out.w[j];
  }
  return out;
}

}  // namespace detail

// The chunk becomes w, of type W and times `unit`, in place: a row of 16-bit values is the first
// half of the memory of its scores. partial[part][row of the chunk].
// Expected: one read and one write of the chunk.
template <int kThreads, class W, class Rule, class S, class T = typename Rule::T>
FASTLOSS_KERNEL(kBlock, 2)
void coefficients(Scores<S, T> scores, Rule rule, Chunk<T> chunk, int64_t part_cols, Scalar<T> unit,
                  bool with_moment, RowSums<typename Rule::State, T>* partial) {
  const int64_t r = block().x * (kBlock / kThreads) + thread() / kThreads;
  if (r >= chunk.rows) return;
  const int rank = thread() % kThreads;
  const auto of = rule.of(chunk.row + r);
  const auto masks = scores.masks(chunk.row + r);
  const int64_t first = block().y * part_cols;
  const int64_t last = first + part_cols < chunk.cols ? first + part_cols : chunk.cols;
  RowSums<typename Rule::State, T> sums;
  for (int64_t base = first; base < last; base += kThreads * kSpan) {
    const int64_t c = base + rank * kSpan;
    detail::Derived<T> derived;
    if (c < last) {
      derived = detail::derive(scores, rule, of, chunk, r, c, masks, with_moment, sums);
    }
    if constexpr (std::is_same_v<W, T>) {
      if (c < last) store_span(chunk.at(r, c), derived.w);
    } else {
      // What lands in the first half must have been read by all.
      if constexpr (kThreads == kWarp) {
        warp_barrier();
      } else {
        barrier();
      }
      if (c < last) {
        W rounded[kSpan];
#pragma unroll
        for (int j = 0; j < kSpan; ++j) rounded[j] = round_to<W>(derived.w[j] * unit.get());
        store_span(reinterpret_cast<W*>(chunk.at(r, 0)) + c, rounded);
      }
    }
  }
  sums = detail::merge_row<kThreads>(sums);
  if (rank == 0) partial[block().y * chunk.rows + r] = sums;
}

// partial[group][column of the chunk], of scores. Expected: one read of the chunk.
template <class Rule, class S, class T = typename Rule::T>
FASTLOSS_KERNEL(kColumnThreads, 3)
void column_sums(Scores<S, T> scores, Rule rule, Chunk<T> chunk, ColumnSums<T>* partial) {
  const int64_t c = (block().x * kColumnThreads + thread()) * kSpan;
  if (c >= chunk.cols) return;
  const int64_t first = block().y * kGroupRows;
  const int64_t last = first + kGroupRows < chunk.rows ? first + kGroupRows : chunk.rows;
  ColumnSums<T> sums[kSpan];
  for (int64_t r = first; r < last; ++r) {
    const auto of = rule.of(chunk.row + r);
    RowSums<typename Rule::State, T> unused;
    const auto derived =
        detail::derive(scores, rule, of, chunk, r, c, scores.masks(chunk.row + r), false, unused);
#pragma unroll
    for (int j = 0; j < kSpan; ++j) sums[j].merge({derived.dscore[j], derived.w[j]});
  }
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    if (c + j < chunk.cols) partial[block().y * chunk.cols + c + j] = sums[j];
  }
}

// fields[f][column] of columns as rows, the columns' factors last; `stride` columns side by side.
template <class Row, class T>
FASTLOSS_KERNEL(kBlock, 4)
void fields_of_columns(const Row* cols, const T* factor, int64_t count, int64_t stride, T* fields) {
  const int64_t j = block().x * kBlock + thread();
  if (j >= stride) return;
  constexpr int64_t kFields = sizeof(Row) / sizeof(T);
  const T* const values = reinterpret_cast<const T*>(cols + j);
  for (int64_t f = 0; f < kFields; ++f) fields[f * stride + j] = j < count ? values[f] : T(0);
  fields[kFields * stride + j] = j < count ? factor[j] : T(0);
}

}  // namespace fastloss::device
