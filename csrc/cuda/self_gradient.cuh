// One set against itself on the device: from tiles of products to coefficients w of both rows'
// losses, in place or as a 16-bit tile.
//
// A warp takes kSpan columns a lane and one row after the other: the columns' statistics and what
// their losses' derivatives need stay in registers. w below the diagonal is 0, because the products
// that follow read all of a tile.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/pairwise_rows.cuh"
#include "cuda/self_states.cuh"

namespace fastloss::device {

// What rows that are known give to both sides of a pair.
template <class Loss>
struct SelfKnown {
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  static constexpr int kFields = sizeof(Row) / sizeof(T);

  const Row* rows;  // (n)
  const T* factor;  // (n)
  const T* fields;  // (kFields, stride): the rows' numbers field by field; of own columns
  int64_t stride;
};

// Σ w of a candidate (distances), and the state of a row whose loss is one of pairs.
struct SelfSums {
  double weight = 0, value = 0;

  FASTLOSS_HOST_DEVICE void merge(const SelfSums& other) {
    weight += other.weight;
    value += other.value;
  }
};

constexpr int kSelfWarps = kSelfThreads / kWarp;
constexpr int64_t kSelfStrip = kWarp * kSpan;
static_assert(kSelfStrip <= kSelfPad, "lanes past the last column read labels too");
constexpr SelfPartition kSelfSumParts{kSelfStrip, kSelfStrip};

// Rows field by field.
template <class Loss>
FASTLOSS_KERNEL(kSelfThreads, 4)
void spread_self(const typename Loss::Row* rows, int64_t n, typename Loss::Value* fields,
                 int64_t stride) {
  constexpr int kFields = SelfKnown<Loss>::kFields;
  const int64_t i = block().x * threads() + thread();
  if (i >= n) return;
  typename Loss::Value values[kFields];
  memcpy(values, rows + i, sizeof values);
#pragma unroll
  for (int f = 0; f < kFields; ++f) fields[f * stride + i] = values[f];
}

// ∂/∂s of the losses of row r and, of own columns, of theirs, for a span; −inf has none.
template <class Loss>
struct SelfSlopes {
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  static constexpr int kFields = SelfKnown<Loss>::kFields;

  T factor[kSpan];  // of the columns
  T fields[kFields * kSpan];

  FASTLOSS_DEVICE void load(const SelfTile& tile, const SelfKnown<Loss>& known, int64_t c) {
#pragma unroll
    for (int e = 0; e < kSpan; ++e) {
      const bool own = tile.own && c + e < tile.cols;
      factor[e] = own ? known.factor[tile.column + c + e] : T(0);
#pragma unroll
      for (int f = 0; f < kFields; ++f) {
        fields[f * kSpan + e] = own ? known.fields[f * known.stride + tile.column + c + e] : T(0);
      }
    }
  }
  FASTLOSS_DEVICE void of_span(const Loss& loss, const T (&span)[kSpan], const Row& of_row,
                               T row_factor, int64_t row, int64_t column, bool own,
                               T (&slopes)[kSpan]) const {
    loss.dscores(span, row, column, kSpan, of_row, row_factor, slopes);
    if (own) loss.add_columns(span, row, column, kSpan, fields, kSpan, factor, slopes);
  }
  FASTLOSS_DEVICE T of_target(const Row& of_row, T row_factor, int e) const {
    constexpr int kTarget = static_cast<int>(offsetof(Row, dtarget) / sizeof(T));
    return row_factor * of_row.dtarget + factor[e] * fields[kTarget * kSpan + e];
  }
};

// Blocks: strips of kSelfStrip columns × kSelfRows rows. w goes to `out`, times `unit`; `moments`
// gets Σ ∂L/∂s · s, added to what each block has there, if it is not null.
template <class Loss, bool kDistance, class S, class W>
FASTLOSS_KERNEL(kSelfThreads, kSelfBlocks<typename Loss::Value>)
void differentiate_self(SelfTile tile, const typename Loss::Value* products, W* out,
                        SelfScores<S, typename Loss::Value> of, Loss loss, SelfKnown<Loss> known,
                        Scalar<typename Loss::Value> unit, double* moments, SelfSums* of_rows,
                        SelfSums* of_cols) {
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  constexpr bool kSums = kDistance || kIsOfPairs<Loss>;
  constexpr int kRows = kSelfRows / kSelfWarps;  // of a warp
  const int64_t c0 = block().x * kSelfStrip, c = c0 + lane() * kSpan;
  const int64_t r0 = block().y * kSelfRows, first = r0 + warp() * kRows;
  const int64_t last = first + kRows < tile.rows ? first + kRows : tile.rows;
  if (!tile.meets(r0, c0 + kSelfStrip)) {
    const W none[kSpan] = {};
    for (int64_t r = first; r < last && c < tile.cols; ++r) {
      store_span(out + r * tile.stride + c, none);
    }
    return;
  }
  const T scale = of.scale.get(), times = unit.get();
  const bool full = tile.is_full(r0, kSelfRows, c0, kSelfStrip);
  const bool targets = Loss::kPaired && of.has_targets(tile, r0, kSelfRows, c0, kSelfStrip);
  T statistics[kSpan];
  ragged_statistics(of.cols, tile.index + c, tile.cols - c, statistics);
  SelfSlopes<Loss> slopes_of;
  if constexpr (!kIsOfPairs<Loss>) slopes_of.load(tile, known, c);
  T col_sums[kSpan] = {};
  double moment = 0;
#pragma unroll 1
  for (int64_t r = first; r < last; ++r) {
    const int64_t row = tile.row + r;
    T span[kSpan] = {}, slopes[kSpan];
    if (c < tile.cols) load_span(products + r * tile.stride + c, span);
    bool read[kSpan];
#pragma unroll
    for (int e = 0; e < kSpan; ++e) read[e] = full || tile.has(r, c + e);
    const T statistic = of.rows.statistic_of(row);
    similarities_by_warp<kDistance>(of, scale, row, tile.index + c, statistic, statistics, read,
                                    span);
    const T factor = known.factor[row];
    T value = 0;
    if constexpr (kIsOfPairs<Loss>) {
#pragma unroll
      for (int e = 0; e < kSpan; ++e) {
        const auto pair = loss.of_pair(span[e], row, tile.column + c + e);
        slopes[e] = factor * pair.derivative;
        value += read[e] ? pair.value : T(0);
      }
    } else {
#pragma unroll
      for (int e = 0; e < kSpan; ++e) span[e] = read[e] ? span[e] : -math::kInfinity<T>;
      T target[kSpan];
      if constexpr (Loss::kPaired) {
#pragma unroll
        for (int e = 0; e < kSpan; ++e) {
          target[e] = span[e];
          if (targets && tile.column + c + e == row + of.partner) span[e] = -math::kInfinity<T>;
        }
      }
      const Row of_row = known.rows[row];
      slopes_of.of_span(loss, span, of_row, factor, row, tile.column + c, tile.own, slopes);
      if constexpr (Loss::kPaired) {
#pragma unroll
        for (int e = 0; e < kSpan; ++e) {
          if (targets && tile.column + c + e == row + of.partner) {
            slopes[e] = slopes_of.of_target(of_row, factor, e);
            span[e] = target[e];
          }
        }
      }
    }
    W w[kSpan];
    T row_sum = 0, row_moment = 0;
#pragma unroll
    for (int e = 0; e < kSpan; ++e) {
      const T slope = read[e] ? slopes[e] : T(0);
      row_moment += slope == T(0) ? T(0) : slope * span[e];
      T weight;
      if constexpr (kDistance) {
        weight = coefficient(of.similarity, scale, span[e], T(1), slope);
        row_sum += weight;
        col_sums[e] += weight;
      } else {
        weight = slope * (statistic * statistics[e]) * times;
      }
      w[e] = round_to<W>(weight);
    }
    if (c < tile.cols) store_span(out + r * tile.stride + c, w);
    if (moments != nullptr) moment += static_cast<double>(row_moment);
    if constexpr (kSums) {
      if constexpr (kDistance) row_sum = warp_sum(row_sum);
      if constexpr (kIsOfPairs<Loss>) value = warp_sum(value);
      if (lane() == 0) {
        of_rows[block().x * tile.rows + r] = {static_cast<double>(row_sum),
                                              static_cast<double>(value)};
      }
    }
  }
  if constexpr (kDistance) {
    FASTLOSS_SHARED(T, sums, kSelfWarps * kSelfStrip);
    store_span(sums + warp() * kSelfStrip + lane() * kSpan, col_sums);
    barrier();
    if (c0 + thread() < tile.cols) {
      double sum = 0;
      for (int w = 0; w < kSelfWarps; ++w) {
        sum += static_cast<double>(sums[w * kSelfStrip + thread()]);
      }
      of_cols[block().y * tile.cols + c0 + thread()] = {sum, 0};
    }
  }
  if (moments != nullptr) {
    FASTLOSS_SHARED(double, parts, kSelfWarps);
    moment = warp_sum(moment);
    if (lane() == 0) parts[warp()] = moment;
    barrier();
    if (thread() == 0) {
      double* const total = moments + block().y * blocks().x + block().x;
      for (int w = 0; w < kSelfWarps; ++w) *total += parts[w];
    }
  }
}

// Rows of a loss of pairs.
template <class Loss>
FASTLOSS_KERNEL(kSelfThreads, 4)
void finish_pairs(Loss loss, const SelfSums* sums, int64_t n, typename Loss::Row* rows) {
  using T = typename Loss::Value;
  const int64_t i = block().x * threads() + thread();
  if (i < n) rows[i] = loss.finish({sums[i].value}, T(0));
}

// partial[block]: the totals of its `share` rows, and of its part of the moments.
template <class Row, class T>
FASTLOSS_KERNEL(kBlock, 4)
void sum_self(const Row* rows, const T* factor, const T* counted, int64_t n, int64_t share,
              const double* moments, int64_t count, Totals* partial) {
  FASTLOSS_SHARED(Totals, shared, kWarpsOfBlock);
  const int64_t first = block().x * share;
  const int64_t last = first + share < n ? first + share : n;
  Totals all;
  for (int64_t i = first + thread(); i < last; i += kBlock) {
    all.loss += static_cast<double>(detail::loss_of_row<Row, T>(rows, nullptr, factor, i));
    all.divisor += rows[i].counts() ? static_cast<double>(counted[i]) : 0;
  }
  for (int64_t i = block().x * kBlock + thread(); i < count; i += blocks().x * kBlock) {
    all.moment += moments[i];
  }
  all = block_merge(all, shared, kWarpsOfBlock);
  if (thread() == 0) partial[block().x] = all;
}

// The rows as multiplied, in T.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void widen_self(const S* rows, int64_t stride, int64_t count, int64_t d, T* out) {
  const int64_t i = block().x * threads() + thread();
  if (i < count * d) out[i] = static_cast<T>(rows[i / d * stride + i % d]);
}

}  // namespace fastloss::device
