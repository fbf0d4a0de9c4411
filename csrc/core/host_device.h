// The macros that let the same function serve the CPU loops and the CUDA kernels.
//
// Always inlined: a function called from a loop that is compiled once per instruction set (simd.h)
// must become part of that loop, or it would be compiled for the baseline only.
//
// FASTLOSS_UNROLL, before a loop, keeps what it indexes in registers on a device; CPU compilers
// decide for themselves.
#pragma once

#if defined(__CUDACC__)
#define FASTLOSS_HOST_DEVICE __host__ __device__ __forceinline__
#define FASTLOSS_UNROLL _Pragma("unroll")
#else
#define FASTLOSS_HOST_DEVICE inline __attribute__((always_inline))
#define FASTLOSS_UNROLL
#endif
