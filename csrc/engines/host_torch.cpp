// The engines' host on torch: its allocator, its thread pool, its matrix products. The only file
// that touches torch's private headers (cpublas), and the only one to change when they do.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm_cpu_dispatch.h>
#include <ATen/ops/sort_cpu_dispatch.h>
#include <c10/core/CPUAllocator.h>

#include "engines/host.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

namespace fastloss::host {

void* allocate(int64_t bytes) {
  void* const memory = c10::GetCPUAllocator()->raw_allocate(static_cast<size_t>(bytes));
#if defined(MADV_HUGEPAGE)
  // A fresh chunk costs one page fault every 4 KiB, as long as filling it: ask for large pages.
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) & ~(kHugePage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) & ~(kHugePage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
  return memory;
}

void release(void* memory) { c10::GetCPUAllocator()->raw_deallocate(memory); }

int64_t threads() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

void for_each_task(int64_t tasks, const std::function<void(int64_t, int64_t)>& task) {
  const int64_t slots = std::min(threads(), tasks);
  if (slots <= 1) {
    for (int64_t index = 0; index < tasks; ++index) task(index, 0);
    return;
  }
  // A thread begins with its own share, the same whenever the number of tasks is: what it wrote in
  // one pass, it finds in its cache in the next. Then it helps the others.
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  };
  std::vector<Share> shares(slots);
  for (int64_t slot = 0; slot < slots; ++slot) {
    shares[slot].next = slot * tasks / slots;
    shares[slot].end = (slot + 1) * tasks / slots;
  }
  at::parallel_for(0, slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t turn = 0; turn < slots; ++turn) {
        Share& share = shares[(slot + turn) % slots];
        for (int64_t i = share.next++; i < share.end; i = share.next++) task(i, slot);
      }
    }
  });
}

namespace {

template <class T>
void sort_with_order(T* keys, int64_t* order, int64_t count) {
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  const auto [sorted, indices] =
      at::cpu::sort(at::from_blob(keys, {count}, options), /*stable=*/true);
  std::copy_n(sorted.template const_data_ptr<T>(), count, keys);
  std::copy_n(indices.template const_data_ptr<int64_t>(), count, order);
}

}  // namespace

void sort(int32_t* keys, int64_t* order, int64_t count) { sort_with_order(keys, order, count); }
void sort(int64_t* keys, int64_t* order, int64_t count) { sort_with_order(keys, order, count); }

namespace {

std::atomic<int64_t> multiply_add_count{0};

enum class Product { kBrgemm, kMm };

// oneDNN's batch-reduced product on tiles that stay in cache, or torch's mm on the same tiles.
// MKL takes its AVX-512 kernels on Intel processors only, so mm is the choice there.
Product preferred() {
#if defined(CPUBLAS_BRGEMM_F32F32F32) && defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && !__builtin_cpu_is("intel")) return Product::kBrgemm;
#endif
  return Product::kMm;
}

std::atomic<Product> product{preferred()};

// A product with a larger inner dimension is mm's even where brgemm is the choice: brgemm does not
// cut it, and falls out of a cache of 512 KiB. Not with AVX-512, where MKL is the slower one.
int64_t deepest_brgemm() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f")) return 128;
#endif
  return std::numeric_limits<int64_t>::max();
}

const int64_t kDeepestBrgemm = deepest_brgemm();

// oneDNN takes AMX tiles where there are any, else AVX-512's dot products of bfloat16 pairs, both
// at least twice as fast as float32. Elsewhere it emulates them, slower than a conversion is.
bool has_bfloat16_products() {
#if defined(CPUBLAS_BRGEMM_BF16BF16F32) && defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

std::atomic<bool> bfloat16_products{has_bfloat16_products()};

template <class T>
void multiply_mm(int64_t rows, int64_t cols, int64_t inner, const T* a, int64_t lda, const T* b,
                 int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  const at::Tensor left = at::from_blob(const_cast<T*>(a), {rows, inner}, {lda, 1}, options);
  const at::Tensor right = at::from_blob(const_cast<T*>(b), {inner, cols}, {ldb, 1}, options);
  at::Tensor out = at::from_blob(c, {rows, cols}, {ldc, 1}, options);
  // The CPU kernels themselves: no dispatcher, so no mode or autograd of the caller's is entered.
  if (accumulate) {
    at::cpu::addmm_out(out, out, left, right);
  } else {
    at::cpu::mm_out(out, left, right);
  }
}

}  // namespace

void multiply(int64_t rows, int64_t cols, int64_t inner, const float* a, int64_t lda,
              const float* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  multiply_add_count.fetch_add(rows * cols * inner, std::memory_order_relaxed);
#if defined(CPUBLAS_BRGEMM_F32F32F32)
  if (inner <= kDeepestBrgemm && product.load(std::memory_order_relaxed) == Product::kBrgemm) {
    at::native::cpublas::brgemm(rows, cols, inner, lda, ldb, ldc, accumulate, a, b, c, false);
    return;
  }
#endif
  multiply_mm(rows, cols, inner, a, lda, b, ldb, c, ldc, accumulate);
}

void multiply(int64_t rows, int64_t cols, int64_t inner, const double* a, int64_t lda,
              const double* b, int64_t ldb, double* c, int64_t ldc, bool accumulate) {
  multiply_add_count.fetch_add(rows * cols * inner, std::memory_order_relaxed);
  multiply_mm(rows, cols, inner, a, lda, b, ldb, c, ldc, accumulate);
}

void multiply(int64_t rows, int64_t cols, int64_t inner, const BFloat16* a, int64_t lda,
              const BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  multiply_add_count.fetch_add(rows * cols * inner, std::memory_order_relaxed);
#if defined(CPUBLAS_BRGEMM_BF16BF16F32)
  static_assert(sizeof(BFloat16) == sizeof(at::BFloat16));
  at::native::cpublas::brgemm(rows, cols, inner, lda, ldb, ldc, accumulate,
                              reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c, true);
#else
  throw std::logic_error("built without products of bfloat16");
#endif
}

bool multiplies_bfloat16() {
  return bfloat16_products.load(std::memory_order_relaxed) &&
         at::globalContext().userEnabledMkldnn();
}

void multiply_done() {
#if defined(CPUBLAS_BRGEMM_BF16BF16F32)
  if (bfloat16_products.load(std::memory_order_relaxed)) {
    at::native::cpublas::brgemm_release(true);
    return;
  }
#endif
#if defined(CPUBLAS_BRGEMM_F32F32F32)
  if (product.load(std::memory_order_relaxed) == Product::kBrgemm) {
    at::native::cpublas::brgemm_release(false);
  }
#endif
}

int64_t multiply_adds() { return multiply_add_count.load(); }

std::string matrix_product() { return product.load() == Product::kBrgemm ? "brgemm" : "mm"; }

void set_matrix_product(const std::string& name) {
  if (name == "mm") {
    product = Product::kMm;
#if defined(CPUBLAS_BRGEMM_F32F32F32)
  } else if (name == "brgemm") {
    product = Product::kBrgemm;
#endif
  } else {
    throw std::invalid_argument("matrix product must be \"brgemm\" or \"mm\" as built, got \"" +
                                name + "\"");
  }
}

void set_bfloat16_products(bool on) { bfloat16_products = on && has_bfloat16_products(); }

}  // namespace fastloss::host
