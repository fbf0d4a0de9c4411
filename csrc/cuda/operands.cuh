// Both sides of a pairwise product on the device: the rows as multiplied, their statistics, and the
// way from Σ w · (other rows) to gradients. The pairwise and the self engine share it.
//
//   Operands<S, T> operands(runtime, similarity, query, n, key, m, d);     // launches, no waiting
//   runtime.multiply(operands.query().rows(first, count),
//                    operands.key().all().flipped(), chunk, stride, false);           // products
//   similarities(kind, scale, query, row, key, column, span)     in a kernel: x → z, kSpan columns
//   coefficient(kind, scale, z, u · v, dscore)                   w (similarity.h), u, v: statistics
//   runtime.multiply(w, operands.key().all(), gradient, d, keep);
//   finish_gradient(runtime, kind, scale, overall, unit, side, sums, gradient);
//
// What is multiplied (S stored, T accumulated):
//     dot         the stored rows, in place
//     cosine      a copy of type S, each row times the power of two that brings its norm to [1, 2):
//                 statistics, inverse norms, then lie in (½, 1], and a derivative times both of a
//                 pair fits 16 bits whatever the rows' lengths. Whether a row needs it is not
//                 asked, because the answer would have to be waited for.
//     distances   a copy of type T, centred on the mean of the keys
// Both statistics stand in w here, u_i v_j ∂L/∂z (pairwise_cpu.h leaves one to the rows), so that
// one chunk of w serves both gradients and no operand is rounded again:
//     ∂L/∂q_i = r · (g − ⟨g, q⟩ u² q)     g = Σ_j w_ij k_j, rows as multiplied, r = scale ·
//     magnitude ∂L/∂q_i = g − (Σ_j w_ij) q          distances
//
// 16-bit products take w as a 16-bit chunk, float16 times unit() because 1/m of a probability lies
// among its subnormals; finish_gradient divides it out.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "cuda/runtime.h"
#include "cuda/scalar.h"
#include "engines/operand.h"
#include "engines/similarity.h"

namespace fastloss::device {

// Neighbouring columns that one thread takes at a time.
constexpr int kSpan = 4;

template <class S>
constexpr StoredType kStored = std::is_same_v<S, double>     ? StoredType::kDouble
                               : std::is_same_v<S, BFloat16> ? StoredType::kBFloat16
                               : std::is_same_v<S, Float16>  ? StoredType::kFloat16
                                                             : StoredType::kFloat;

// kSpan values at an address that is a multiple of 16 bytes (8 for 16-bit values).
template <class V>
struct alignas(sizeof(V) * kSpan < 16 ? sizeof(V) * kSpan : 16) Span {
  V values[kSpan];
};

template <class V>
FASTLOSS_DEVICE void load_span(const V* from, V (&span)[kSpan]) {
  const auto all = *reinterpret_cast<const Span<V>*>(from);
#pragma unroll
  for (int j = 0; j < kSpan; ++j) span[j] = all.values[j];
}
template <class V>
FASTLOSS_DEVICE void store_span(V* to, const V (&span)[kSpan]) {
  Span<V> all;
#pragma unroll
  for (int j = 0; j < kSpan; ++j) all.values[j] = span[j];
  *reinterpret_cast<Span<V>*>(to) = all;
}
// Of an array that is neither aligned nor padded: `fill` past its end.
template <class V>
FASTLOSS_DEVICE void load_ragged(const V* array, int64_t first, int64_t count, V fill,
                                 V (&span)[kSpan]) {
#pragma unroll
  for (int j = 0; j < kSpan; ++j) span[j] = first + j < count ? array[first + j] : fill;
}

// One side as kernels see it.
template <class S, class T>
struct Side {
  const S* stored;  // (count, d)
  int64_t count, d;
  const T* statistic;  // (padded(count)): inverse norm, squared norm, or null: 1
  const T* magnitude;  // (count): power of two of the copy, or null: 1
  const T* centre;     // (d), or null: 0
  Matrix multiplied;   // (count, d)

  // A feature as multiplied, unrounded.
  FASTLOSS_DEVICE T feature(int64_t row, int64_t c) const {
    T value = static_cast<T>(stored[row * d + c]);
    if (centre != nullptr) value -= centre[c];
    return magnitude != nullptr ? value * magnitude[row] : value;
  }
  FASTLOSS_DEVICE T statistic_of(int64_t row) const {
    return statistic != nullptr ? statistic[row] : T(1);
  }
  FASTLOSS_DEVICE void statistics(int64_t row, T (&span)[kSpan]) const {
    if (statistic != nullptr) return load_span(statistic + row, span);
#pragma unroll
    for (int j = 0; j < kSpan; ++j) span[j] = T(1);
  }

  Matrix all() const { return multiplied; }
  Matrix rows(int64_t first, int64_t number) const {
    const int64_t size = multiplied.type == StoredType::kDouble  ? 8
                         : multiplied.type == StoredType::kFloat ? 4
                                                                 : 2;
    Matrix part = multiplied;
    part.data = static_cast<const char*>(multiplied.data) + first * multiplied.stride * size;
    part.rows = number;
    return part;
  }
};

// ‖q − k‖² of two rows from their difference.
template <class S, class T>
FASTLOSS_DEVICE T squared_distance(const Side<S, T>& rows, int64_t row, const Side<S, T>& cols,
                                   int64_t col) {
  const S* const a = rows.stored + row * rows.d;
  const S* const b = cols.stored + col * cols.d;
  T sum = 0;
#pragma unroll 1
  for (int64_t c = 0; c < rows.d; ++c) {
    const T difference = static_cast<T>(a[c]) - static_cast<T>(b[c]);
    sum += difference * difference;
  }
  return sum;
}

// Products of one row with kSpan columns from `column` on, a multiple of kSpan, to scaled
// similarities (similarity.h), close pairs from their difference. Columns past the end give values
// without meaning.
template <class S, class T>
FASTLOSS_DEVICE void similarities(Similarity kind, T scale, const Side<S, T>& rows, int64_t row,
                                  const Side<S, T>& cols, int64_t column, T (&span)[kSpan]) {
  const T own = rows.statistic_of(row);
  T others[kSpan];
  cols.statistics(column, others);
  if (!is_distance(kind)) {
    // Row and column may change places without changing a bit.
#pragma unroll
    for (int j = 0; j < kSpan; ++j) span[j] *= scale * (own * others[j]);
    return;
  }
#pragma unroll
  for (int j = 0; j < kSpan; ++j) {
    const T norms = own + others[j];
    T square = norms - 2 * span[j];
    square = square < T(0) ? T(0) : square;
    if (square < kDirectDistance<T> * norms && column + j < cols.count) {
      square = squared_distance(rows, row, cols, column + j);
    }
    span[j] = -scale * (kind == Similarity::kEuclidean ? std::sqrt(square) : square);
  }
}

// Whether w of a pair is kept in the type of 16-bit operands.
template <class S>
bool has_short_chunk(Similarity kind) {
  return sizeof(S) == 2 && !is_distance(kind);
}
// What w is multiplied by there: 2¹⁴ leaves room for |w| < 4.
template <class S>
constexpr double kUnit = std::is_same_v<S, Float16> ? 16384.0 : 1.0;

template <class S, class T>
class Operands {
 public:
  Operands(Runtime& runtime, Similarity kind, const S* query, int64_t n, const S* key, int64_t m,
           int64_t d);

  const Side<S, T>& query() const { return query_; }
  const Side<S, T>& key() const { return key_; }

 private:
  using Copied = unsigned char;

  static int64_t stride(Similarity kind, int64_t d) {
    const int64_t size = is_distance(kind) ? sizeof(T) : sizeof(S);
    return cover(d * size, 16) * 16 / size;
  }
  static int64_t copy_bytes(Similarity kind, int64_t count, int64_t d) {
    if (kind == Similarity::kDot) return 0;
    return count * stride(kind, d) *
           static_cast<int64_t>(is_distance(kind) ? sizeof(T) : sizeof(S));
  }
  void prepare(Similarity kind, Side<S, T>& side, const Buffer<Copied>& copy,
               const Buffer<T>& statistic, const Buffer<T>& magnitude);
  void find_centre(const S* key, int64_t m, int64_t d);

  Runtime& runtime_;
  Buffer<Copied> query_copy_, key_copy_;
  Buffer<T> query_statistic_, key_statistic_, query_magnitude_, key_magnitude_, centre_;
  Side<S, T> query_, key_;
};

// From g = Σ w · (other rows), all of it times `unit`, to the gradient of every row of a side, in
// place: times scale and overall. `sums` are the rows' Σ w (distances only; not times unit).
template <class S, class T>
void finish_gradient(Runtime& runtime, Similarity kind, Scalar<T> scale, const T* overall,
                     Scalar<T> unit, const Side<S, T>& side, const T* sums, T* gradient);

}  // namespace fastloss::device

#include "cuda/operands_kernels.cuh"
