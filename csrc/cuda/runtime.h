// What the CUDA engines ask of the library beneath: memory on the device, and matrix products. All
// of it is ordered as the kernels of `queue` are; nothing here waits for the device.
//
// With torch it is runtime_torch.h; tests/emulator has one of plain C++, whose device is the CPU.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "engines/values.h"

namespace fastloss::device {

// A dense matrix on the device, row i at data + i · stride values. `transposed` reads it as
// (cols, rows).
struct Matrix {
  const void* data;
  StoredType type;
  int64_t rows, cols, stride;
  bool transposed = false;

  Matrix flipped() const { return {data, type, rows, cols, stride, !transposed}; }
};

class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual Queue queue() const = 0;
  // Bytes of device memory, aligned to 256; 0 bytes are a valid request. Freed memory may be handed
  // out again to what comes later on the queue.
  virtual void* allocate(int64_t bytes) = 0;
  virtual void free(void* memory) noexcept = 0;
  // out = a · b + keep · out, keep 0 or 1, of double operands in double, of all others in float:
  // out has the rows of a, the columns of b, and `stride` values from row to row. a and b are of
  // one type. With keep = 0 nothing of out is read.
  virtual void multiply(const Matrix& a, const Matrix& b, void* out, int64_t stride, bool keep) = 0;
  // Matrix products so far, in multiplications of numbers: for tests.
  virtual int64_t multiply_adds() const = 0;
};

// Device memory for `count` values, as long as it lives.
template <class V>
class Buffer {
 public:
  Buffer(Runtime& runtime, int64_t count)
      : runtime_(runtime),
        data_(static_cast<V*>(runtime.allocate(count * static_cast<int64_t>(sizeof(V))))),
        count_(count) {}
  ~Buffer() { runtime_.free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  V* data() const { return data_; }
  int64_t size() const { return count_; }

 private:
  Runtime& runtime_;
  V* data_;
  int64_t count_;
};

}  // namespace fastloss::device
