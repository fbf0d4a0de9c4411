// Writes down what is launched, if FASTLOSS_LAUNCHES names a file: the analysis of the compiled
// kernels (tests/cuda_races.py) wants a grid and parameters for each of them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/launch.h"

// Places of kernels are counted from here, wherever the program was loaded.
extern "C" __attribute__((used, noinline)) inline void fastloss_launches_begin() {}

namespace fastloss::emulator {

// The places of all kernels that were launched.
inline std::set<int64_t> launched;

// One line a launch: the kernel's place, blocks, threads, and every parameter's bytes in
// hexadecimal digits. A kernel's first launches of each grid are enough.
inline void write_down(const void* kernel, device::Grid grid, int threads,
                       const std::vector<std::pair<const void*, size_t>>& parameters) {
  const int64_t place =
      reinterpret_cast<intptr_t>(kernel) - reinterpret_cast<intptr_t>(&fastloss_launches_begin);
  launched.insert(place);
  static const char* const name = std::getenv("FASTLOSS_LAUNCHES");
  if (name == nullptr) return;
  static std::FILE* const file = std::fopen(name, "a");
  static std::map<std::tuple<const void*, int64_t, int64_t>, int> seen;
  if (file == nullptr || grid.x * grid.y > 64 || ++seen[{kernel, grid.x, grid.y}] > 2) return;
  std::fprintf(file, "%lld %lld %lld %d", static_cast<long long>(place),
               static_cast<long long>(grid.x), static_cast<long long>(grid.y), threads);
  for (const auto& [data, size] : parameters) {
    std::fputc(' ', file);
    for (size_t i = 0; i < size; ++i) {
      std::fprintf(file, "%02x", static_cast<const unsigned char*>(data)[i]);
    }
  }
  std::fputc('\n', file);
  std::fflush(file);
}

}  // namespace fastloss::emulator
