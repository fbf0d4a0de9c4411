// Rows side by side, a row a lane: how short rows, and rows whose values do not lie side by side,
// are worked on.
//
// A loop along a row of ten values is all beginning and end: a vector register that is not full, a
// sum over its lanes, and what is done once a row, one at a time. A loop across rows does the same
// arithmetic with a row in every lane, and has none of that. A tile holds value c of lane r at
// [c · kLanes + r]. Loops run over a multiple of kLaneStep lanes; those beyond the last row hold
// zeros, and what comes of them is not looked at.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace fastloss {

constexpr int64_t kLanes = 32;
constexpr int64_t kLaneStep = 16;
constexpr int64_t kLaneColumns = 128;  // of a tile: with 32 lanes of float, half of a 32 KiB cache

FASTLOSS_HOST_DEVICE int64_t lanes_for(int64_t rows) {
  return (rows + kLaneStep - 1) / kLaneStep * kLaneStep;
}

}  // namespace fastloss
