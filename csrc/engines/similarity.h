// From raw products to similarities and back: the only place that knows the four of them.
//
// The products give x_ij = ⟨q_i, k_j⟩ of the rows as multiplied (operand.h). Scaled similarity z:
//     dot        z = scale · x
//     cosine     z = scale · u_i v_j x                u, v: inverse norms, 0 for a zero row
//     sqeuclidean z = −scale · D,   D = a_i + b_j − 2x  a, b: squared norms of the centred rows
//     euclidean  z = −scale · √D
// and for the gradient each has a coefficient w_ij = c(z) · ∂L/∂z_ij with which
//     ∂L/∂q_i = r_i Σ_j w_ij k_j − (…) q_i,
// the last term being the projection ⟨·, q̂⟩q̂ (cosine) or the row sum of w (distances), and the same
// for keys with columns. The distance at D = 0 has derivative 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "core/host_device.h"
#include "core/math.h"

namespace fastloss {

enum class Similarity { kDot, kCosine, kEuclidean, kSquaredEuclidean };

FASTLOSS_HOST_DEVICE bool is_distance(Similarity similarity) {
  return similarity == Similarity::kEuclidean || similarity == Similarity::kSquaredEuclidean;
}

// Below this fraction of ‖q‖² + ‖k‖² a distance is recomputed from the difference itself: the
// expansion a + b − 2x has lost six bits there, and all of them for equal rows.
template <class T>
constexpr T kDirectDistance = T(1) / T(64);

// z of one pair of rows, directly; x is their product, square the squared distance of the rows.
template <class T>
FASTLOSS_HOST_DEVICE T scaled_similarity(Similarity kind, T scale, T x, T row, T col, T square) {
  if (kind == Similarity::kEuclidean) return -scale * std::sqrt(square);
  if (kind == Similarity::kSquaredEuclidean) return -scale * square;
  return x * (scale * (row * col));
}

// Squared distances to scaled similarities, in place.
template <class T>
FASTLOSS_HOST_DEVICE void similarities_of_distances(Similarity kind, T scale, T* __restrict span,
                                                    int64_t count) {
  if (kind == Similarity::kEuclidean) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) span[j] = std::sqrt(span[j]);
  }
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) span[j] *= -scale;
}

// Products to scaled similarities, in place. `row` is the row's statistic (inverse norm or squared
// norm; 1 for dot), `cols` those of the span's columns. Returns whether a distance is so small that
// it must be recomputed: then all of the span holds max(D, 0), inaccurate where it is small.
template <class T>
FASTLOSS_HOST_DEVICE bool similarities_of_span(Similarity kind, T scale, T row,
                                               const T* __restrict cols, T* __restrict span,
                                               int64_t count) {
  if (!is_distance(kind)) {
    // Row and column may change places without changing a bit.
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) span[j] *= scale * (row * cols[j]);
    return false;
  }
  int close = 0;
#pragma omp simd reduction(| : close)
  for (int64_t j = 0; j < count; ++j) {
    const T norms = row + cols[j];
    const T expanded = norms - 2 * span[j];
    close |= expanded < kDirectDistance<T> * norms ? 1 : 0;
    span[j] = expanded < T(0) ? T(0) : expanded;
  }
  if (close != 0) return true;
  similarities_of_distances(kind, scale, span, count);
  return false;
}

// Coefficient of a squared distance.
template <class T>
FASTLOSS_HOST_DEVICE T squared_coefficient(T scale, T dscore) {
  return 2 * scale * dscore;
}

// Coefficient of a distance z = −scale · √D, 0 at D = 0. A division whatever the values are: only
// then is a loop of it vector code.
template <class T>
FASTLOSS_HOST_DEVICE T root_coefficient(T scale, T z, T dscore) {
  const bool none = (z == T(0)) | (dscore == T(0));
  const T quotient = -scale * scale * dscore / (none ? T(1) : z);
  return none ? T(0) : quotient;
}

// Coefficient w of one pair from ∂L/∂z. `col` is the inverse norm of the column (1 for dot).
template <class T>
FASTLOSS_HOST_DEVICE T coefficient(Similarity kind, T scale, T z, T col, T dscore) {
  if (kind == Similarity::kSquaredEuclidean) return squared_coefficient(scale, dscore);
  if (kind == Similarity::kEuclidean) return root_coefficient(scale, z, dscore);
  return dscore * col;
}

// Similarities to coefficients of distances, in place, from factor · dscore; returns their sum.
// Each distance has a loop of its own.
template <class T>
FASTLOSS_HOST_DEVICE T coefficients_of_distances(Similarity kind, T scale, T factor,
                                                 const T* __restrict dscore, T* __restrict span,
                                                 int64_t count) {
  T sum = 0;
  if (kind == Similarity::kSquaredEuclidean) {
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; ++j) {
      span[j] = squared_coefficient(scale, factor * dscore[j]);
      sum += span[j];
    }
    return sum;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    span[j] = root_coefficient(scale, span[j], factor * dscore[j]);
    sum += span[j];
  }
  return sum;
}

}  // namespace fastloss
