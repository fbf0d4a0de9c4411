// A number that the host knows, or one that lies on the device.
#pragma once

#include "core/host_device.h"

namespace fastloss::device {

template <class T>
struct Scalar {
  T value = 0;
  const T* place = nullptr;

  FASTLOSS_HOST_DEVICE T get() const { return place != nullptr ? *place : value; }
};

}  // namespace fastloss::device
