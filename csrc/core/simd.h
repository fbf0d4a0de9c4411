// One source, three instruction sets: a loop passed to `simd::dispatch` is compiled for the x86-64
// baseline, for v3 (AVX2) and for v4 (AVX-512), and the widest one the processor has is run.
//
// The loop is a callable whose operator() and everything it calls are always inlined
// (FASTLOSS_HOST_DEVICE), so that each of the three functions below holds its own copy of it.
// `force` exists for tests; elsewhere than on x86-64 with GCC or Clang the plain loop is compiled.
#pragma once

#include <cstdint>

namespace fastloss::simd {

enum class Level : int { kBaseline = 0, kV3 = 1, kV4 = 2 };

// 0 on the command line: the baseline alone, which compiles in a third of the time.
#if !defined(FASTLOSS_SIMD_CLONES) && defined(__x86_64__) && defined(__GNUC__)
#define FASTLOSS_SIMD_CLONES 1
#endif

inline Level widest() {
#if FASTLOSS_SIMD_CLONES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return Level::kV4;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    return Level::kV3;
  }
#endif
  return Level::kBaseline;
}

inline Level& current() {
  static Level level = widest();
  return level;
}

// Narrows the clone in use; a level the processor lacks is clamped to the widest it has.
inline void force(Level level) { current() = level < widest() ? level : widest(); }

#if FASTLOSS_SIMD_CLONES
template <class Loop>
__attribute__((noinline, target("arch=x86-64-v4,prefer-vector-width=512"))) void run_v4(Loop loop) {
  loop();
}
template <class Loop>
__attribute__((noinline, target("arch=x86-64-v3"))) void run_v3(Loop loop) {
  loop();
}
#endif

template <class Loop>
__attribute__((noinline)) void run_baseline(Loop loop) {
  loop();
}

template <class Loop>
inline void dispatch(Loop loop) {
#if FASTLOSS_SIMD_CLONES
  if (current() == Level::kV4) return run_v4(loop);
  if (current() == Level::kV3) return run_v3(loop);
#endif
  run_baseline(loop);
}

}  // namespace fastloss::simd

// Marks the lambda passed to dispatch: [=]() FASTLOSS_SIMD_LOOP { … }
#define FASTLOSS_SIMD_LOOP __attribute__((always_inline))
