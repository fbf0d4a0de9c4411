// Rounding to 16 bits and back as NVIDIA's own headers do it on the CPU: core/half.h agrees with
// them on every stored value, around every tie, and on random floats.
//
// quick: plain
#include <cstdio>

#if __has_include(<cuda_bf16.h>) && __has_include(<cuda_fp16.h>)

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <random>

#include "check.h"
#include "core/half.h"

using namespace fastloss;

namespace {

uint16_t toolkit(float value, BFloat16) {
  return static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(value)).x;
}
uint16_t toolkit(float value, Float16) { return static_cast<__half_raw>(__float2half_rn(value)).x; }
float toolkit(BFloat16 value) {
  __nv_bfloat16_raw raw;
  raw.x = value.bits;
  return __bfloat162float(__nv_bfloat16(raw));
}
float toolkit(Float16 value) {
  __half_raw raw;
  raw.x = value.bits;
  return __half2float(__half(raw));
}

// A NaN is a NaN; which one differs.
template <class Half>
bool rounds_alike(float value) {
  const Half ours = Half::round(value);
  if (std::isnan(value)) return std::isnan(static_cast<float>(ours));
  return ours.bits == toolkit(value, Half{});
}

template <class Half>
void test_type() {
  for (int i = 0; i < 0x10000; ++i) {
    const Half stored{static_cast<uint16_t>(i)};
    const auto value = static_cast<float>(stored);
    const float theirs = toolkit(stored);
    CHECK(std::isnan(value) ? std::isnan(theirs) : value == theirs);
    const auto next = static_cast<float>(Half{static_cast<uint16_t>(i + 1)});
    const float middle = value + (next - value) / 2;
    for (const float near :
         {value, middle, std::nextafter(middle, -INFINITY), std::nextafter(middle, INFINITY)}) {
      CHECK(rounds_alike<Half>(near));
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 4'000'000; ++i) {
    const uint32_t bits = random();
    float value;
    std::memcpy(&value, &bits, sizeof value);
    CHECK(rounds_alike<Half>(value));
  }
}

}  // namespace

int main() {
  test_type<BFloat16>();
  test_type<Float16>();
  return test::report();
}

#else

int main() {
  std::puts("skipped: the CUDA toolkit's headers are not installed");
  return 77;
}

#endif
