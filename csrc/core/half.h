// Storage types of 16 bits: they are stored and converted, never calculated with.
//
// Conversions are exact upwards and round to nearest even downwards; NaN, infinities, subnormals
// and signed zeros included. They are integer arithmetic without branches, so that a loop over
// them becomes vector code, and do not depend on how the processor treats subnormal floats.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace fastloss {

namespace detail {

FASTLOSS_HOST_DEVICE float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

FASTLOSS_HOST_DEVICE uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

}  // namespace detail

// The upper half of a float: 8 bits of exponent, 7 of mantissa.
struct BFloat16 {
  uint16_t bits;

  FASTLOSS_HOST_DEVICE explicit operator float() const {
    return detail::float_of(static_cast<uint32_t>(bits) << 16);
  }
  FASTLOSS_HOST_DEVICE explicit operator double() const {
    return static_cast<double>(static_cast<float>(*this));
  }
  FASTLOSS_HOST_DEVICE static BFloat16 round(float value) {
    const uint32_t b = detail::bits_of(value);
    // Just under half a unit, and the last kept bit breaks the tie towards even.
    const uint32_t rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    return {static_cast<uint16_t>(value != value ? 0x7fc0 | (b >> 16) : rounded)};
  }
};

// IEEE binary16: 5 bits of exponent (bias 15), 10 of mantissa.
struct Float16 {
  uint16_t bits;

  FASTLOSS_HOST_DEVICE explicit operator float() const {
    constexpr uint32_t kRebias = (127 - 15) << 23;
    const uint32_t magnitude = bits & 0x7fff;
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const uint32_t normal = (magnitude << 13) + kRebias;
    const uint32_t subnormal =  // its mantissa counts units of 2^-24
        detail::bits_of(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
    const uint32_t special = normal + kRebias;  // infinity and NaN: exponent 31 becomes 255
    const uint32_t finite = magnitude < 0x0400 ? subnormal : normal;
    return detail::float_of(sign | (magnitude < 0x7c00 ? finite : special));
  }
  FASTLOSS_HOST_DEVICE explicit operator double() const {
    return static_cast<double>(static_cast<float>(*this));
  }
  FASTLOSS_HOST_DEVICE static Float16 round(float value) {
    const uint32_t b = detail::bits_of(value);
    const uint32_t magnitude = b & 0x7fffffff;
    const uint32_t normal =
        (magnitude - ((127 - 15) << 23) + 0x0fff + ((magnitude >> 13) & 1)) >> 13;
    // In [0.5, 1) floats are 2^-24 apart, as subnormal halves are: the addition rounds.
    const uint32_t subnormal = detail::bits_of(detail::float_of(magnitude) + 0.5f) - 0x3f000000;
    const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
    const uint32_t large = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;   // NaN : too large, infinity
    const uint32_t rounded = magnitude < 0x477ff000 ? finite : large;  // 65520 rounds up
    return {static_cast<uint16_t>((b >> 16 & 0x8000) | rounded)};
  }
};

// A value of the accumulation type as it is stored.
template <class S, class T>
FASTLOSS_HOST_DEVICE S round_to(T value) {
  if constexpr (sizeof(S) == 2) {
    return S::round(value);
  } else {
    return static_cast<S>(value);
  }
}

}  // namespace fastloss
