// What the sanitizers leave out: they are slow, and look for less than the plain build. A loss or a
// type that differs from another in arithmetic alone makes the same accesses.
#pragma once

namespace fastloss {

// The race detector needs every kernel once, with more steps than buffers and more tiles than one.
#if defined(__SANITIZE_THREAD__)
constexpr bool kForRaces = true;
#else
constexpr bool kForRaces = false;
#endif

// bfloat16 stands for most types, and a loss for its like.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = kForRaces;
#endif

}  // namespace fastloss
