// engines/host.h without torch: one thread, plain loops. It also records what it is asked for.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "engines/host.h"

namespace fastloss::host {

inline int64_t bytes_live = 0;
inline int64_t bytes_peak = 0;
inline int64_t adds = 0;
inline int64_t thread_count = 1;
inline bool forwards = false;

inline void* allocate(int64_t bytes) {
  auto* memory = static_cast<int64_t*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
  *memory = bytes;
  bytes_live += bytes;
  bytes_peak = bytes_live > bytes_peak ? bytes_live : bytes_peak;
  return memory + 8;
}

inline void release(void* memory) {
  int64_t* const block = static_cast<int64_t*>(memory) - 8;
  bytes_live -= *block;
  std::free(block);
}

inline int64_t threads() { return thread_count; }

// Back to front unless told, and with changing slots: nothing may depend on the order.
inline void for_each_task(int64_t tasks, const std::function<void(int64_t, int64_t)>& task) {
  for (int64_t i = tasks - 1; i >= 0; --i) {
    const int64_t index = forwards ? tasks - 1 - i : i;
    task(index, index % thread_count);
  }
}

template <class T>
void plain_sort(T* keys, int64_t* order, int64_t count) {
  for (int64_t i = 0; i < count; ++i) order[i] = i;
  std::stable_sort(order, order + count,
                   [keys](int64_t a, int64_t b) { return keys[a] < keys[b]; });
  std::sort(keys, keys + count);
}
inline void sort(int32_t* keys, int64_t* order, int64_t count) { plain_sort(keys, order, count); }
inline void sort(int64_t* keys, int64_t* order, int64_t count) { plain_sort(keys, order, count); }

template <class T>
void plain_multiply(int64_t rows, int64_t cols, int64_t inner, const T* a, int64_t lda, const T* b,
                    int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  adds += rows * cols * inner;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      T sum = accumulate ? c[i * ldc + j] : T(0);
      for (int64_t k = 0; k < inner; ++k) sum += a[i * lda + k] * b[k * ldb + j];
      c[i * ldc + j] = sum;
    }
  }
}

inline void multiply(int64_t rows, int64_t cols, int64_t inner, const float* a, int64_t lda,
                     const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  plain_multiply(rows, cols, inner, a, lda, b, ldb, c, ldc, accumulate);
}
inline void multiply(int64_t rows, int64_t cols, int64_t inner, const double* a, int64_t lda,
                     const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate) {
  plain_multiply(rows, cols, inner, a, lda, b, ldb, c, ldc, accumulate);
}
inline void multiply(int64_t rows, int64_t cols, int64_t inner, const BFloat16* a, int64_t lda,
                     const BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  adds += rows * cols * inner;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      float sum = accumulate ? c[i * ldc + j] : 0.0f;
      for (int64_t k = 0; k < inner; ++k) {
        sum += static_cast<float>(a[i * lda + k]) *
               static_cast<float>(b[k / 2 * 2 * ldb + 2 * j + k % 2]);
      }
      c[i * ldc + j] = sum;
    }
  }
}
inline bool bfloat16_products = true;
inline bool multiplies_bfloat16() { return bfloat16_products; }
inline void multiply_done() {}
inline int64_t multiply_adds() { return adds; }

}  // namespace fastloss::host
