// What a kernel asks of the machine, one name each: threads, shared memory, barriers, exchanges in
// a warp, copies past the registers, matrix fragments. Kernels use these names only, so that the
// same source runs on a GPU and, thread by thread, on the CPU: with FASTLOSS_EMULATOR defined, the
// implementation is tests/emulator/emulator.h instead of the CUDA one below. Callers of kernels
// that no CUDA compiler sees get the constants only.
//
// Blocks have one dimension of threads, a multiple of 32. Deterministic by what is not here: there
// are no atomics. A fragment's layout is that of the PTX ISA for the instruction named.
#pragma once

#include <cstdint>

#include "core/half.h"

namespace fastloss::device {

constexpr int kWarp = 32;

// A block's place in a grid; 64 bits, because it is multiplied by sizes.
struct BlockIndex {
  int64_t x, y;
};

// Inputs of the tensor cores' products that are not stored as such: float rounded to 10 bits.
struct TF32 {};

}  // namespace fastloss::device

#if defined(FASTLOSS_EMULATOR)

#define FASTLOSS_DEVICE inline __attribute__((always_inline))
#include "emulator.h"

#elif defined(__CUDACC__)

// A function of kernels.
#define FASTLOSS_DEVICE __device__ __forceinline__

// A kernel: FASTLOSS_KERNEL(threads, blocks) void name(arguments). `blocks` of `threads` are to fit
// a multiprocessor: it bounds the registers.
#define FASTLOSS_KERNEL(threads, blocks) __global__ __launch_bounds__(threads, blocks)

// Memory of the block: `name` points to `count` values of a type that needs no destructor. Their
// first values are arbitrary.
#define FASTLOSS_SHARED(type, name, count)                                     \
  __shared__ __align__(16) unsigned char name##_bytes[sizeof(type) * (count)]; \
  type* const name = reinterpret_cast<type*>(name##_bytes)

namespace fastloss::device {

__device__ __forceinline__ int thread() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int threads() { return static_cast<int>(blockDim.x); }
__device__ __forceinline__ int lane() { return thread() % kWarp; }
__device__ __forceinline__ int warp() { return thread() / kWarp; }
__device__ __forceinline__ BlockIndex block() { return {blockIdx.x, blockIdx.y}; }
__device__ __forceinline__ BlockIndex blocks() { return {gridDim.x, gridDim.y}; }

// All threads of the block, or of the warp, arrive; what they wrote is seen by all.
__device__ __forceinline__ void barrier() { __syncthreads(); }
__device__ __forceinline__ void warp_barrier() { __syncwarp(); }

namespace detail {

// Moves a plain struct through an exchange of 32-bit words.
template <class V, class Exchange>
__device__ __forceinline__ V by_words(const V& value, const Exchange& exchange) {
  static_assert(sizeof(V) % sizeof(uint32_t) == 0);
  uint32_t words[sizeof(V) / sizeof(uint32_t)];
  memcpy(words, &value, sizeof(V));
#pragma unroll
  for (uint32_t& word : words) word = exchange(word);
  V result;
  memcpy(&result, words, sizeof(V));
  return result;
}

__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

}  // namespace detail

// The value of another lane of the warp: the lane given, `delta` above (one's own past the end), or
// one's own number with the bits of `mask` turned. All 32 lanes take part.
template <class V>
__device__ __forceinline__ V shuffle(const V& value, int from) {
  return detail::by_words(value, [=](uint32_t w) { return __shfl_sync(0xffffffffu, w, from); });
}
template <class V>
__device__ __forceinline__ V shuffle_down(const V& value, int delta) {
  return detail::by_words(value,
                          [=](uint32_t w) { return __shfl_down_sync(0xffffffffu, w, delta); });
}
template <class V>
__device__ __forceinline__ V shuffle_xor(const V& value, int mask) {
  return detail::by_words(value, [=](uint32_t w) { return __shfl_xor_sync(0xffffffffu, w, mask); });
}
// Bit l is the condition of lane l. All 32 lanes take part.
__device__ __forceinline__ uint32_t ballot(bool condition) {
  return __ballot_sync(0xffffffffu, condition);
}

// Starts the copy of 16 bytes to shared memory, both addresses multiples of 16, of which the first
// `bytes` (0 … 16) are read and the rest is 0. Done after wait_copies and a barrier.
__device__ __forceinline__ void copy_async(void* shared, const void* global, int bytes) {
  asm volatile(
      "cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(detail::shared_address(shared)),
      "l"(__cvta_generic_to_global(global)), "r"(bytes)
      : "memory");
}
// Ends a group of copies of this thread (it may be empty) …
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// … and waits until at most the `kPending` latest groups of this thread are under way.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ldmatrix.x4: four 8 × 8 matrices of 16-bit values. Lane l gives the address of row l % 8 of
// matrix l / 8 (16 bytes, aligned); out[i] is its part of matrix i. All 32 lanes take part.
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(detail::shared_address(shared))
               : "memory");
}

// c += a · b by mma.sync with float accumulators: m16n8k16 (bf16, fp16) or m16n8k8 (tf32), a
// row-major, b column-major. All 32 lanes take part.
template <class In>
__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]);

#define FASTLOSS_MMA(In, shape)                                                       \
  template <>                                                                         \
  __device__ __forceinline__ void multiply<In>(float (&c)[4], const uint32_t (&a)[4], \
                                               const uint32_t (&b)[2]) {              \
    asm volatile("mma.sync.aligned." shape                                            \
                 " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"   \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
  }
FASTLOSS_MMA(BFloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
FASTLOSS_MMA(Float16, "m16n8k16.row.col.f32.f16.f16.f32")
FASTLOSS_MMA(TF32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef FASTLOSS_MMA

// A float rounded as a tf32 operand is, in the low bits' place 0.
__device__ __forceinline__ uint32_t to_tf32(float value) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
}

}  // namespace fastloss::device

#endif
