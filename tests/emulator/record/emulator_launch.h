// emulator_launch.h that also writes down what is launched: the analysis of the compiled kernels
// (tests/cuda_races.py) wants a grid and parameters for each of them. Found before the other one by
// the order of -I; nothing else changes.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#define launch launch_without_note
#include_next "emulator_launch.h"
#undef launch

namespace fastloss::emulator {

// One line a launch: the kernel's place in this program, blocks, threads, and every parameter's
// bytes in hexadecimal digits. A kernel's first launches of each grid are enough.
inline void write_down(const void* kernel, device::Grid grid, int threads,
                       const std::vector<std::pair<const void*, size_t>>& parameters) {
  static std::FILE* const file = std::fopen(std::getenv("FASTLOSS_LAUNCHES"), "a");
  static std::map<std::tuple<const void*, int64_t, int64_t>, int> seen;
  if (grid.x * grid.y > 64 || ++seen[{kernel, grid.x, grid.y}] > 2) return;
  Dl_info program;
  dladdr(reinterpret_cast<const void*>(&write_down), &program);
  std::fprintf(file, "%llx %lld %lld %d",
               static_cast<unsigned long long>(static_cast<const char*>(kernel) -
                                               static_cast<const char*>(program.dli_fbase)),
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

namespace fastloss::device {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, const Queue& queue,
            const Arguments&... arguments) {
  const std::tuple<Parameters...> parameters(static_cast<Parameters>(arguments)...);
  std::apply(
      [&](const auto&... each) {
        emulator::write_down(reinterpret_cast<const void*>(kernel), grid, threads,
                             {{&each, sizeof each}...});
      },
      parameters);
  launch_without_note(kernel, grid, threads, queue, arguments...);
}

}  // namespace fastloss::device
