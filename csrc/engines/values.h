// Arrays whose stored type is known at run time only: read and written span by span, so that the
// loops over rows and elements exist once an accumulation type, not once a stored type.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/host_device.h"
#include "core/lanes.h"
#include "core/simd.h"
#include "core/transpose.h"

namespace fastloss {

enum class StoredType { kFloat, kDouble, kBFloat16, kFloat16 };

namespace detail {

// Calls work(S{}) with the C++ type, one that accumulates in T.
template <class T, class Work>
FASTLOSS_HOST_DEVICE void with_type(StoredType type, const Work& work) {
  if constexpr (std::is_same_v<T, float>) {
    if (type == StoredType::kBFloat16) return work(BFloat16{});
    if (type == StoredType::kFloat16) return work(Float16{});
  }
  work(T{});
}

template <class S, class T>
FASTLOSS_HOST_DEVICE S rounded(T value) {
  if constexpr (sizeof(S) == 2) {
    return S::round(static_cast<float>(value));
  } else {
    return static_cast<S>(value);
  }
}

template <class T>
FASTLOSS_HOST_DEVICE bool is_stored_as(StoredType type) {
  return type == (std::is_same_v<T, double> ? StoredType::kDouble : StoredType::kFloat);
}

}  // namespace detail

// Values as stored; T is the type in which they are accumulated: double for double, float for the
// others.
template <class T>
struct Source {
  const void* data = nullptr;
  StoredType type = StoredType::kFloat;

  bool given() const { return data != nullptr; }

  // Values [first, first + count): in place, or converted to `scratch`.
  FASTLOSS_HOST_DEVICE const T* span(int64_t first, int64_t count, T* __restrict scratch) const {
    if (detail::is_stored_as<T>(type)) return static_cast<const T*>(data) + first;
    detail::with_type<T>(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      const auto* __restrict in = static_cast<const decltype(stored)*>(data) + first;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) scratch[i] = static_cast<T>(in[i]);
    });
    return scratch;
  }

  // A tile of lanes (core/lanes.h): value c of lane r lies at first + r · row_stride + c · stride,
  // where one of the strides is 1; at most kLaneColumns values unless row_stride is.
  FASTLOSS_HOST_DEVICE void tile(int64_t first, int64_t row_stride, int64_t stride, int64_t rows,
                                 int64_t cols, T* out) const {
    if (row_stride == 1) {
      side_by_side(first, stride, rows, cols, out);
    } else {
      turned(first, row_stride, rows, cols, out);
    }
  }

  T operator[](int64_t i) const {
    T value = 0;
    return *span(i, 1, &value);
  }

 private:
  FASTLOSS_HOST_DEVICE void side_by_side(int64_t first, int64_t stride, int64_t rows, int64_t cols,
                                         T* __restrict tile) const {
    detail::with_type<T>(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      const auto* __restrict in = static_cast<const decltype(stored)*>(data) + first;
      for (int64_t c = 0; c < cols; ++c) {
#pragma omp simd
        for (int64_t r = 0; r < rows; ++r) {
          tile[c * kLanes + r] = static_cast<T>(in[c * stride + r]);
        }
      }
    });
  }

  FASTLOSS_HOST_DEVICE void turned(int64_t first, int64_t stride, int64_t rows, int64_t cols,
                                   T* tile) const {
    T strip[8 * kLaneColumns];
    const bool in_place = detail::is_stored_as<T>(type);
    for (int64_t r = 0; r < rows; r += 8) {
      const int64_t height = rows - r < 8 ? rows - r : 8;
      const int64_t at = first + r * stride;
      for (int64_t i = 0; i < height && !in_place; ++i) {
        span(at + i * stride, cols, strip + i * cols);
      }
      const T* const in = in_place ? static_cast<const T*>(data) + at : strip;
      detail::transpose(in, in_place ? stride : cols, height, cols, tile + r, kLanes);
    }
  }
};

template <class T>
struct Sink {
  void* data = nullptr;
  StoredType type = StoredType::kFloat;

  // Where to write values [first, first + count) before `store`: in place, or scratch.
  FASTLOSS_HOST_DEVICE T* span(int64_t first, T* scratch) const {
    return detail::is_stored_as<T>(type) ? static_cast<T*>(data) + first : scratch;
  }

  FASTLOSS_HOST_DEVICE void store(int64_t first, int64_t count, const T* __restrict values) const {
    if (detail::is_stored_as<T>(type)) return;
    detail::with_type<T>(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      using S = decltype(stored);
      S* __restrict out = static_cast<S*>(data) + first;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) out[i] = detail::rounded<S>(values[i]);
    });
  }

  FASTLOSS_HOST_DEVICE void store_tile(int64_t first, int64_t row_stride, int64_t stride,
                                       int64_t rows, int64_t cols, const T* tile) const {
    if (row_stride == 1) {
      store_side_by_side(first, stride, rows, cols, tile);
    } else {
      store_turned(first, row_stride, rows, cols, tile);
    }
  }

 private:
  FASTLOSS_HOST_DEVICE void store_side_by_side(int64_t first, int64_t stride, int64_t rows,
                                               int64_t cols, const T* __restrict tile) const {
    detail::with_type<T>(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      using S = decltype(stored);
      S* __restrict out = static_cast<S*>(data) + first;
      for (int64_t c = 0; c < cols; ++c) {
#pragma omp simd
        for (int64_t r = 0; r < rows; ++r) {
          out[c * stride + r] = detail::rounded<S>(tile[c * kLanes + r]);
        }
      }
    });
  }

  FASTLOSS_HOST_DEVICE void store_turned(int64_t first, int64_t stride, int64_t rows, int64_t cols,
                                         const T* tile) const {
    T strip[8 * kLaneColumns];
    const bool in_place = detail::is_stored_as<T>(type);
    for (int64_t r = 0; r < rows; r += 8) {
      const int64_t height = rows - r < 8 ? rows - r : 8;
      const int64_t at = first + r * stride;
      T* const out = in_place ? static_cast<T*>(data) + at : strip;
      detail::transpose(tile + r, kLanes, cols, height, out, in_place ? stride : cols);
      for (int64_t i = 0; i < height && !in_place; ++i)
        store(at + i * stride, cols, out + i * cols);
    }
  }
};

}  // namespace fastloss
