// runtime.h by torch: its caching allocator, its matrix products (which honour its precision
// flags), the current stream. FASTLOSS_EMULATOR: the device is the CPU.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>

#include <unordered_map>

#include "cuda/runtime.h"
#include "engines/tensor_arguments.h"
#if !defined(FASTLOSS_EMULATOR)
#include <c10/cuda/CUDAStream.h>
#endif

namespace fastloss::device {

// On the device of `like`, which is the current one for as long as this lives.
class TorchRuntime : public Runtime {
 public:
  explicit TorchRuntime(const at::Tensor& like) : guard_(like.device()), device_(like.device()) {}

  Queue queue() const override {
#if defined(FASTLOSS_EMULATOR)
    return {};
#else
    return {device_.index(), c10::cuda::getCurrentCUDAStream(device_.index()).stream()};
#endif
  }

  void* allocate(int64_t bytes) override {
    // Every request has an address of its own.
    c10::DataPtr memory = c10::GetAllocator(device_.type())->allocate(bytes > 0 ? bytes : 1);
    void* const address = memory.get();
    memory_.emplace(address, std::move(memory));
    return address;
  }
  void free(void* memory) noexcept override { memory_.erase(memory); }

  void multiply(const Matrix& a, const Matrix& b, void* out, int64_t stride, bool keep) override {
    const int64_t rows = a.transposed ? a.cols : a.rows, inner = a.transposed ? a.rows : a.cols;
    const int64_t cols = b.transposed ? b.rows : b.cols;
    multiply_adds_ += rows * inner * cols;
    const bool wide = a.type == StoredType::kDouble;
    const bool narrow = a.type == StoredType::kBFloat16 || a.type == StoredType::kFloat16;
    at::Tensor result = dense(out, rows, cols, stride, wide ? at::kDouble : at::kFloat);
    at::Tensor left = tensor(a), right = tensor(b);
#if defined(FASTLOSS_EMULATOR)
    if (narrow) left = left.to(at::kFloat), right = right.to(at::kFloat);
#else
    if (narrow) {
      if (keep) {
        at::addmm_out(result, result, left, right, at::kFloat);
      } else {
        at::mm_out(result, left, right, at::kFloat);
      }
      return;
    }
#endif
    if (keep) {
      at::addmm_out(result, result, left, right);
    } else {
      at::mm_out(result, left, right);
    }
  }

  int64_t multiply_adds() const override { return multiply_adds_; }

 private:
  at::Tensor dense(const void* data, int64_t rows, int64_t cols, int64_t stride,
                   at::ScalarType type) const {
    return at::for_blob(const_cast<void*>(data), {rows, cols})
        .strides({stride, 1})
        .options(at::TensorOptions(type).device(device_))
        .target_device(device_)
        .make_tensor();
  }
  at::Tensor tensor(const Matrix& m) const {
    const at::ScalarType type = m.type == StoredType::kDouble     ? at::kDouble
                                : m.type == StoredType::kBFloat16 ? at::kBFloat16
                                : m.type == StoredType::kFloat16  ? at::kHalf
                                                                  : at::kFloat;
    const at::Tensor matrix = dense(m.data, m.rows, m.cols, m.stride, type);
    return m.transposed ? matrix.t() : matrix;
  }

  c10::DeviceGuard guard_;
  at::Device device_;
  std::unordered_map<void*, c10::DataPtr> memory_;
  int64_t multiply_adds_ = 0;
};

}  // namespace fastloss::device
