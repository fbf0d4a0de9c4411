// What the CPU engines ask of the library beneath: memory, threads and small matrix products.
//
// The engines know nothing else of torch. host_torch.cpp is the implementation that ships;
// csrc/tests/host_plain.h is one without torch for the C++ tests.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "core/half.h"

namespace fastloss::host {

// Memory of the library's CPU allocator, so that its profiler sees every byte.
void* allocate(int64_t bytes);
void release(void* memory);

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : count_(count),
        data_(count > 0 ? static_cast<T*>(allocate(count * int64_t{sizeof(T)})) : nullptr) {}
  Buffer(int64_t count, T value) : Buffer(count) {
    for (int64_t i = 0; i < count; ++i) data_[i] = value;
  }
  Buffer(Buffer&& other) noexcept : count_(other.count_), data_(other.data_) {
    other.data_ = nullptr;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() {
    if (data_ != nullptr) release(data_);
  }
  void swap(Buffer& other) noexcept {
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
  }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return count_; }

 private:
  int64_t count_;
  T* data_;
};

int64_t threads();

// Runs task(index, slot) for every index in [0, tasks): any order, any thread; `slot` < threads()
// is the running thread's own scratch. Tasks are handed out as threads become free, which changes
// nothing in the result because a task owns what it writes.
void for_each_task(int64_t tasks, const std::function<void(int64_t index, int64_t slot)>& task);

// order[i] becomes the index of the i-th smallest key, equal keys in their own order. The keys are
// sorted too.
void sort(int32_t* keys, int64_t* order, int64_t count);
void sort(int64_t* keys, int64_t* order, int64_t count);

// c(rows × cols) = a(rows × inner) · b(inner × cols), plus c itself if accumulate. Row-major with
// leading dimensions; runs on the calling thread; accumulates in the type of c or wider.
void multiply(int64_t rows, int64_t cols, int64_t inner, const float* a, int64_t lda,
              const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate);
void multiply(int64_t rows, int64_t cols, int64_t inner, const double* a, int64_t lda,
              const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate);

// The same of bfloat16 values, unrounded; b is given in pairs of rows, (inner / 2, cols, 2), and
// `inner` is even. To be called only if multiplies_bfloat16().
void multiply(int64_t rows, int64_t cols, int64_t inner, const BFloat16* a, int64_t lda,
              const BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool accumulate);
bool multiplies_bfloat16();

// Ends a task's series of products (tile registers, where the processor has them, are given back).
void multiply_done();

// Multiply-adds done by `multiply` since the process started: how tests count products.
int64_t multiply_adds();

// "brgemm" or "mm" (see host_torch.cpp); set_matrix_product throws std::invalid_argument on
// another.
std::string matrix_product();
void set_matrix_product(const std::string& name);

// Off, bfloat16 is converted and multiplied as float32; on has an effect only where there are such
// products.
void set_bfloat16_products(bool on);

}  // namespace fastloss::host
