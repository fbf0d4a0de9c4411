// csrc/cuda/launch.h on the CPU: the blocks have run when launch returns, and what went wrong in
// them is thrown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "cuda/launch.h"
#include "launches.h"

namespace fastloss::emulator {

// A kernel's call with its parameters.
using Kernel = void (*)(const void* parameters);

void run(device::Grid grid, int threads, Kernel kernel, const void* parameters);

// Fails where a kernel is handed an address on the stack of the CPU. (What is elsewhere in the
// CPU's memory cannot be told from the device's here.)
void check_parameter(const void* parameter, size_t size);

template <class Parameter>
void check_parameter([[maybe_unused]] Parameter parameter) {
#if __has_builtin(__builtin_clear_padding)
  __builtin_clear_padding(&parameter);  // it may hold half of an old address
  check_parameter(&parameter, sizeof parameter);
#endif
}

// Another order of threads and blocks.
void seed(uint64_t value);

// Memory of the device is accessed by kernels, and elsewhere as long as a DeviceAccess lives: the
// address sanitizer reports all else.
void add_device_memory(const void* memory, size_t bytes);
void remove_device_memory(const void* memory);
struct DeviceAccess {
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(const DeviceAccess&) = delete;
  DeviceAccess& operator=(const DeviceAccess&) = delete;
};

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
  (emulator::check_parameter<Parameters>(static_cast<Parameters>(arguments)), ...);
  using Call = std::tuple<void (*)(Parameters...), Parameters...>;
  Call call(kernel, static_cast<Parameters>(arguments)...);
  // What lies between the parameters' members is nobody's address.
  __builtin_clear_padding(&call);
  std::apply(
      [&](const auto& run, const auto&... parameters) {
        emulator::write_down(reinterpret_cast<const void*>(run), grid, threads,
                             {{&parameters, sizeof parameters}...});
      },
      call);
  emulator::run(
      grid, threads,
      [](const void* data) {
        std::apply([](const auto& run, const auto&... parameters) { run(parameters...); },
                   *static_cast<const Call*>(data));
      },
      &call);
}

}  // namespace fastloss::device
