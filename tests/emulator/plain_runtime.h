// csrc/cuda/runtime.h without a library: memory of the CPU, and products by loops.
//
// Memory is an exact heap block, filled with NaN: what is read before it is written shows in the
// result, and the address sanitizer sees what is read past its end. Products add in double and
// round once: no library is more precise, so the errors that a test sees are the kernels'.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <stdexcept>
#include <vector>

#include "cuda/runtime.h"

namespace fastloss::emulator {

class PlainRuntime : public device::Runtime {
 public:
  PlainRuntime() = default;
  PlainRuntime(const PlainRuntime&) = delete;
  PlainRuntime& operator=(const PlainRuntime&) = delete;
  ~PlainRuntime() override {
    if (live_) {
      std::fprintf(stderr, "%lld bytes of device memory were not freed\n",
                   static_cast<long long>(live_));
      std::abort();
    }
  }

  device::Queue queue() const override { return {}; }

  void* allocate(int64_t bytes) override {
    if (bytes < 0) throw std::invalid_argument("memory of a negative size");
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, static_cast<size_t>(bytes))) throw std::bad_alloc();
    std::memset(memory, 0xff, static_cast<size_t>(bytes));
    add_device_memory(memory, static_cast<size_t>(bytes));
    sizes_[memory] = bytes;
    live_ += bytes;
    peak_ = live_ > peak_ ? live_ : peak_;
    return memory;
  }

  void free(void* memory) noexcept override {
    const auto found = sizes_.find(memory);
    if (found == sizes_.end()) {
      std::fprintf(stderr, "memory is freed that was not allocated\n");
      std::abort();
    }
    live_ -= found->second;
    sizes_.erase(found);
    remove_device_memory(memory);
    std::free(memory);
  }

  void multiply(const device::Matrix& a, const device::Matrix& b, void* out, int64_t stride,
                bool keep) override {
    const Shape left = shape(a), right = shape(b);
    if (a.type != b.type) throw std::invalid_argument("a product of two types");
    if (left.cols != right.rows) throw std::invalid_argument("a product of unequal inner sizes");
    if (stride < right.cols) throw std::invalid_argument("rows of a product overlap");
    const DeviceAccess access;
    multiply_adds_ += left.rows * left.cols * right.cols;
    if (a.type == StoredType::kDouble) {
      product(a, b, static_cast<double*>(out), stride, keep);
    } else {
      product(a, b, static_cast<float*>(out), stride, keep);
    }
  }

  int64_t multiply_adds() const override { return multiply_adds_; }

  int64_t bytes_live() const { return live_; }
  int64_t bytes_peak() const { return peak_; }
  // From here on, the peak is that of what follows.
  void restart_peak() { peak_ = live_; }

 private:
  struct Shape {
    int64_t rows, cols;
  };

  static Shape shape(const device::Matrix& m) {
    if (m.rows < 0 || m.cols < 0 || m.stride < m.cols) {
      throw std::invalid_argument("a matrix whose rows overlap");
    }
    return m.transposed ? Shape{m.cols, m.rows} : Shape{m.rows, m.cols};
  }

  static double value(const device::Matrix& m, int64_t index) {
    switch (m.type) {
      case StoredType::kDouble:
        return static_cast<const double*>(m.data)[index];
      case StoredType::kBFloat16:
        return static_cast<double>(static_cast<const BFloat16*>(m.data)[index]);
      case StoredType::kFloat16:
        return static_cast<double>(static_cast<const Float16*>(m.data)[index]);
      default:
        return static_cast<const float*>(m.data)[index];
    }
  }

  // Row by row and dense, as it is read.
  static std::vector<double> dense(const device::Matrix& m) {
    const Shape size = shape(m);
    std::vector<double> out(static_cast<size_t>(size.rows * size.cols));
    for (int64_t i = 0; i < m.rows; ++i) {
      for (int64_t j = 0; j < m.cols; ++j) {
        out[static_cast<size_t>(m.transposed ? j * m.rows + i : i * m.cols + j)] =
            value(m, i * m.stride + j);
      }
    }
    return out;
  }

  template <class T>
  static void product(const device::Matrix& a, const device::Matrix& b, T* out, int64_t stride,
                      bool keep) {
    const std::vector<double> left = dense(a), right = dense(b);
    const int64_t rows = shape(a).rows, inner = shape(a).cols, cols = shape(b).cols;
    std::vector<double> sums(static_cast<size_t>(cols));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) sums[j] = keep ? out[i * stride + j] : 0.0;
      for (int64_t k = 0; k < inner; ++k) {
        const double factor = left[i * inner + k];
        const double* const row = right.data() + k * cols;
        double* const sum = sums.data();
        for (int64_t j = 0; j < cols; ++j) sum[j] += factor * row[j];
      }
      for (int64_t j = 0; j < cols; ++j) out[i * stride + j] = static_cast<T>(sums[j]);
    }
  }

  std::map<void*, int64_t> sizes_;
  int64_t live_ = 0, peak_ = 0, multiply_adds_ = 0;
};

// A digest of every value that was downloaded, printed at the end if FASTLOSS_EMULATOR_DIGEST is
// set: orders of threads and blocks must not change it.
struct Digest {
  uint64_t value = 0xcbf29ce484222325;  // FNV-1a

  template <class V>
  void add(V one) {
    __builtin_clear_padding(&one);  // which is whatever was on a thread's stack
    unsigned char bytes[sizeof(V)];
    std::memcpy(bytes, &one, sizeof(V));
    for (const unsigned char byte : bytes) value = (value ^ byte) * 0x100000001b3;
  }
  ~Digest() {
    if (!std::getenv("FASTLOSS_EMULATOR_DIGEST")) return;
    std::printf("digest %016llx\n", static_cast<unsigned long long>(value));
  }
};
inline Digest digest;

// Values on the device, and back.
template <class V>
class Uploaded : public device::Buffer<V> {
 public:
  Uploaded(device::Runtime& runtime, const std::vector<V>& values)
      : device::Buffer<V>(runtime, static_cast<int64_t>(values.size())) {
    const DeviceAccess access;
    if (!values.empty()) std::memcpy(this->data(), values.data(), values.size() * sizeof(V));
  }
};

template <class V>
std::vector<V> download(const V* data, int64_t count) {
  const DeviceAccess access;
  const std::vector<V> values(data, data + count);
  for (const V& value : values) digest.add(value);
  return values;
}
template <class V>
std::vector<V> download(const device::Buffer<V>& buffer) {
  return download(buffer.data(), buffer.size());
}

}  // namespace fastloss::emulator
