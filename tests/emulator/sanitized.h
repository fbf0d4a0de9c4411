// What the sanitizers leave out: they are slow, and look for less than the plain build.
#pragma once

namespace fastloss {

// The race detector needs every kernel once, with more steps than buffers and more tiles than one.
#if defined(__SANITIZE_THREAD__)
constexpr bool kForRaces = true;
#else
constexpr bool kForRaces = false;
#endif

// Types that differ in loads and stores alone stand for each other, and few cases for many.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = kForRaces;
#endif

}  // namespace fastloss
