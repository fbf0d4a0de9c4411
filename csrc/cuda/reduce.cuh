// Sums and states of a warp or a block, merged in a fixed order.
#pragma once

#include <cstdint>

#include "cuda/device.h"

namespace fastloss::device {

// Threads that work on one row or column span: a warp, or a block of them.
constexpr int kBlock = 256;
constexpr int kWarpsOfBlock = kBlock / kWarp;

// Every lane gets the same bits: at each step two lanes add the same two numbers.
template <class V>
FASTLOSS_DEVICE V warp_sum(V value) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

template <class V>
FASTLOSS_DEVICE V warp_max(V value) {
#pragma unroll
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const V other = shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

// The states of a warp's lanes; what lane 0 gets is the result. Lane l is merged before lane l + 1
// of its group: the order of the tree does not depend on timing.
template <class State>
FASTLOSS_DEVICE State warp_merge(State state) {
#pragma unroll
  for (int delta = kWarp / 2; delta > 0; delta /= 2) {
    const State other = shuffle_down(state, delta);
    state.merge(other);
  }
  return state;
}

// What `merge` is to a number: warp_merge and block_merge add.
template <class V>
struct Sum {
  V value = 0;
  FASTLOSS_DEVICE void merge(const Sum& other) { value += other.value; }
};

// The states of `warps` warps, one each in `shared` (warps of them), warp 0's lane 0 gets the
// result. All threads of the block arrive; the memory may be used again after their next barrier.
template <class State>
FASTLOSS_DEVICE State block_merge(State state, State* shared, int warps) {
  state = warp_merge(state);
  if (lane() == 0) shared[warp()] = state;
  barrier();
  if (thread() == 0) {
    for (int w = 1; w < warps; ++w) state.merge(shared[w]);
  }
  return state;
}

}  // namespace fastloss::device
