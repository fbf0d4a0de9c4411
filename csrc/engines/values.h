// Arrays whose stored type is known at run time only: read and written span by span, so that the
// loops over rows and elements exist once an accumulation type, not once a stored type.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/host_device.h"
#include "core/simd.h"

namespace fastloss {

enum class StoredType { kFloat, kDouble, kBFloat16, kFloat16 };

namespace detail {

// Calls work(S{}) with the C++ type.
template <class Work>
FASTLOSS_HOST_DEVICE void with_type(StoredType type, const Work& work) {
  switch (type) {
    case StoredType::kFloat:
      return work(float{});
    case StoredType::kDouble:
      return work(double{});
    case StoredType::kBFloat16:
      return work(BFloat16{});
    case StoredType::kFloat16:
      return work(Float16{});
  }
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

// `count` values that lie side by side, or rows of values that lie `stride` apart (columns of a
// matrix). T is the type in which they are calculated with.
template <class T>
struct Source {
  const void* data = nullptr;
  StoredType type = StoredType::kFloat;

  bool given() const { return data != nullptr; }

  // Values [first, first + count): in place, or converted to `scratch`.
  FASTLOSS_HOST_DEVICE const T* span(int64_t first, int64_t count, T* __restrict scratch) const {
    if (detail::is_stored_as<T>(type)) return static_cast<const T*>(data) + first;
    detail::with_type(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      const auto* __restrict in = static_cast<const decltype(stored)*>(data) + first;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) scratch[i] = static_cast<T>(in[i]);
    });
    return scratch;
  }

  // tile(rows × cols, leading dimension tile_stride): value (r, c) lies at first + c · stride + r.
  FASTLOSS_HOST_DEVICE void columns(int64_t first, int64_t stride, int64_t rows, int64_t cols,
                                    T* __restrict tile, int64_t tile_stride) const {
    detail::with_type(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      const auto* __restrict in = static_cast<const decltype(stored)*>(data) + first;
      for (int64_t c = 0; c < cols; ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          tile[r * tile_stride + c] = static_cast<T>(in[c * stride + r]);
        }
      }
    });
  }

  T operator[](int64_t i) const {
    T value = 0;
    return *span(i, 1, &value);
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
    detail::with_type(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      using S = decltype(stored);
      S* __restrict out = static_cast<S*>(data) + first;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) out[i] = detail::rounded<S>(values[i]);
    });
  }

  FASTLOSS_HOST_DEVICE void store_columns(int64_t first, int64_t stride, int64_t rows, int64_t cols,
                                          const T* __restrict tile, int64_t tile_stride) const {
    detail::with_type(type, [=, this](auto stored) FASTLOSS_SIMD_LOOP {
      using S = decltype(stored);
      S* __restrict out = static_cast<S*>(data) + first;
      for (int64_t c = 0; c < cols; ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          out[c * stride + r] = detail::rounded<S>(tile[r * tile_stride + c]);
        }
      }
    });
  }
};

}  // namespace fastloss
