// Small matrices transposed in registers.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace fastloss::detail {

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

}  // namespace fastloss::detail
