// csrc/cuda/launch.h on the CPU: the blocks have run when launch returns, and what went wrong in
// them is thrown.
#pragma once

#include <cstdint>
#include <tuple>
#include <type_traits>

#include "cuda/launch.h"

namespace fastloss::emulator {

// A kernel's call with its parameters.
using Kernel = void (*)(const void* parameters);

void run(device::Grid grid, int threads, Kernel kernel, const void* parameters);

// Another order of threads and blocks.
void seed(uint64_t value);

}  // namespace fastloss::emulator

namespace fastloss::device {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, const Queue&,
            const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  static_assert((std::is_trivially_copyable_v<Parameters> && ...),
                "parameters are copied as bytes");
  static_assert((sizeof(Parameters) + ... + 0) <= 4000, "parameters have 4 KB");
  grid.check();
  if (grid.empty()) return;
  using Call = std::tuple<void (*)(Parameters...), Parameters...>;
  const Call call(kernel, static_cast<Parameters>(arguments)...);
  emulator::run(
      grid, threads,
      [](const void* data) {
        std::apply([](const auto& run, const auto&... parameters) { run(parameters...); },
                   *static_cast<const Call*>(data));
      },
      &call);
}

}  // namespace fastloss::device
