// Numbers of the engines on the device that kernels and their callers share.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace fastloss::device {

// Arrays of columns and rows of chunks are padded so that spans of columns never end beyond them
// and every row starts at a multiple of 16 bytes.
FASTLOSS_HOST_DEVICE constexpr int64_t padded(int64_t count) { return (count + 7) / 8 * 8; }

// A number that the host knows, or one that lies on the device.
template <class T>
struct Scalar {
  T value = 0;
  const T* place = nullptr;

  FASTLOSS_HOST_DEVICE T get() const { return place != nullptr ? *place : value; }
};

}  // namespace fastloss::device
