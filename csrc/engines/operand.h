// One side of a pairwise product: n rows of d stored values, read as accumulation values.
//
// The products read stored rows in place wherever they can. Rows are copied, block by block, only
// when what is multiplied is not what is stored: centred (Euclidean similarities), scaled by a
// power of two (cosine of extreme rows) or converted (storage narrower than the accumulation).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/host_device.h"
#include "core/simd.h"

namespace fastloss {

namespace detail {

// Transposes 8 × 8 values: interleaving the rows of the upper half with those of the lower half,
// three times over, moves every value to its mirror place.
template <class T>
FASTLOSS_HOST_DEVICE void transpose_8x8(const T* __restrict in, int64_t in_stride,
                                        T* __restrict out, int64_t out_stride) {
#if defined(__GNUC__)
  typedef T Vector __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));
  Vector a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = *reinterpret_cast<const Vector*>(in + i * in_stride);
  const auto round = [](const Vector* from, Vector* to) __attribute__((always_inline)) {
    for (int i = 0; i < 4; ++i) {
      to[2 * i] = __builtin_shufflevector(from[i], from[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
  };
  round(a, b);
  round(b, a);
  round(a, b);
  for (int i = 0; i < 8; ++i) *reinterpret_cast<Vector*>(out + i * out_stride) = b[i];
#else
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 8; ++j) out[j * out_stride + i] = in[i * in_stride + j];
  }
#endif
}

// out(cols × rows) = in(rows × cols)ᵀ.
template <class T>
FASTLOSS_HOST_DEVICE void transpose(const T* in, int64_t in_stride, int64_t rows, int64_t cols,
                                    T* out, int64_t out_stride) {
  int64_t i = 0;
  for (; i + 8 <= rows; i += 8) {
    int64_t j = 0;
    for (; j + 8 <= cols; j += 8) {
      transpose_8x8(in + i * in_stride + j, in_stride, out + j * out_stride + i, out_stride);
    }
    for (; j < cols; ++j) {
      for (int64_t k = i; k < i + 8; ++k) out[j * out_stride + k] = in[k * in_stride + j];
    }
  }
  for (; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) out[j * out_stride + i] = in[i * in_stride + j];
  }
}

template <class T>
FASTLOSS_HOST_DEVICE T dot(const T* __restrict a, const T* __restrict b, int64_t count) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < count; ++k) sum += a[k] * b[k];
  return sum;
}

template <class T, class S>
FASTLOSS_HOST_DEVICE T squared_distance(const S* __restrict a, const S* __restrict b,
                                        int64_t count) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < count; ++k) {
    const T difference = static_cast<T>(a[k]) - static_cast<T>(b[k]);
    sum += difference * difference;
  }
  return sum;
}

}  // namespace detail

// S is the stored type, T the accumulation type.
template <class S, class T>
struct Operand {
  const S* data = nullptr;  // (count, d), contiguous
  int64_t count = 0;
  int64_t d = 0;
  const T* centre = nullptr;     // (d): subtracted from every row
  const T* magnitude = nullptr;  // (count): power of two that multiplies the row

  // Whether the rows are multiplied as they are stored, but for their type.
  bool as_stored() const { return centre == nullptr && magnitude == nullptr; }
  bool in_place() const { return std::is_same_v<S, T> && as_stored(); }

  // Two neighbouring 16-bit features make one word: what `pairs_transposed` moves.
  bool has_pairs() const {
    return sizeof(S) == 2 && as_stored() && d % 2 == 0 &&
           reinterpret_cast<uintptr_t>(data) % sizeof(uint32_t) == 0;
  }

  // One row as multiplied.
  FASTLOSS_HOST_DEVICE void load(int64_t row, T* __restrict out) const {
    const S* __restrict in = data + row * d;
    const T scale = magnitude != nullptr ? magnitude[row] : T(1);
    if (centre != nullptr) {
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) out[k] = (static_cast<T>(in[k]) - centre[k]) * scale;
    } else {
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) out[k] = static_cast<T>(in[k]) * scale;
    }
  }

  // Rows [first, first + rows) as a contiguous (rows, d) block: in place, or copied to scratch.
  const T* block(int64_t first, int64_t rows, T* scratch) const {
    if constexpr (std::is_same_v<S, T>) {
      if (in_place()) return data + first * d;
    }
    const Operand self = *this;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      for (int64_t i = 0; i < rows; ++i) self.load(first + i, scratch + i * self.d);
    });
    return scratch;
  }

  // out(d × rows), leading dimension out_stride: the rows as columns, column i times factor[i] if
  // a factor is given. Goes through an 8-row strip (strip: 8 · d values) unless rows are in place.
  void transposed(int64_t first, int64_t rows, const T* factor, T* strip, T* out,
                  int64_t out_stride) const {
    const Operand self = *this;
    const bool direct = in_place() && factor == nullptr;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      if constexpr (std::is_same_v<S, T>) {
        if (direct) {
          detail::transpose(self.data + first * self.d, self.d, rows, self.d, out, out_stride);
          return;
        }
      }
      for (int64_t i = 0; i < rows; i += 8) {
        const int64_t height = std::min<int64_t>(8, rows - i);
        for (int64_t r = 0; r < height; ++r) {
          T* __restrict row = strip + r * self.d;
          self.load(first + i + r, row);
          if (factor != nullptr) {
            const T scale = factor[i + r];
#pragma omp simd
            for (int64_t k = 0; k < self.d; ++k) row[k] *= scale;
          }
        }
        detail::transpose(strip, self.d, height, self.d, out + i, out_stride);
      }
    });
  }

  // out(d / 2 × rows × 2), leading dimension out_stride words: the rows as columns, as stored,
  // neighbouring features side by side. This is how 16-bit products read their right-hand side.
  void pairs_transposed(int64_t first, int64_t rows, S* out, int64_t out_stride) const {
    const auto* const words = reinterpret_cast<const uint32_t*>(data) + first * d / 2;
    auto* const out_words = reinterpret_cast<uint32_t*>(out);
    const int64_t width = d / 2;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      detail::transpose(words, width, rows, width, out_words, out_stride);
    });
  }
};

}  // namespace fastloss
