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
#include "core/transpose.h"

namespace fastloss {

namespace detail {

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
