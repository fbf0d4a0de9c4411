// How a kernel starts: on its queue's device and stream, with a grid that is in range, and checked.
// Under FASTLOSS_EMULATOR the blocks run on the CPU before launch returns (tests/emulator).
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda/device.h"

namespace fastloss::device {

// Where kernels are put: a device's number and a stream of it (cudaStream_t, 0: the default one).
struct Queue {
  int device = 0;
  void* stream = nullptr;
};

// Blocks of a launch; y is limited to 65 535 by the hardware, x to 2³¹ − 1.
struct Grid {
  int64_t x = 1, y = 1;

  bool empty() const { return x == 0 || y == 0; }
  void check() const {
    if (x < 0 || y < 0 || x > INT64_C(2147483647) || y > 65535) {
      throw std::invalid_argument("a grid of " + std::to_string(x) + " x " + std::to_string(y) +
                                  " blocks cannot be launched");
    }
  }
};

// Blocks of `size` that cover `count`.
constexpr int64_t cover(int64_t count, int64_t size) { return (count + size - 1) / size; }

#if defined(__CUDACC__)

inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Makes a device the current one, for as long as it lives.
class Guard {
 public:
  explicit Guard(int device) {
    check(cudaGetDevice(&before_));
    if (before_ != device) check(cudaSetDevice(device));
    changed_ = before_ != device;
  }
  ~Guard() {
    if (changed_) (void)cudaSetDevice(before_);
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, int threads, const Queue& queue,
            const Arguments&... arguments) {
  grid.check();
  if (grid.empty()) return;
  const Guard guard(queue.device);
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(queue.stream)>>>(
      static_cast<Parameters>(arguments)...);
  check(cudaGetLastError());
}

#endif

}  // namespace fastloss::device

#if defined(FASTLOSS_EMULATOR)
#include "emulator_launch.h"
#endif
