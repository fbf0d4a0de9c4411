// All 65536 values of each 16-bit type, and the rounding of everything around and between them.
#include <cmath>
#include <limits>

#include "check.h"
#include "core/half.h"

using namespace fastloss;

// The value of a 16-bit pattern by its definition.
double value_of(uint16_t bits, int mantissa_bits, int bias) {
  const int largest = (1 << (15 - mantissa_bits)) - 1;
  const int exponent = (bits & 0x7fff) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == largest) {
    return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  const int implicit = exponent ? 1 << mantissa_bits : 0;
  return sign * std::ldexp(implicit + mantissa, (exponent ? exponent : 1) - bias - mantissa_bits);
}

template <class Half>
void test_type(int mantissa_bits, int bias) {
  const int largest_finite = (0x7fff >> mantissa_bits << mantissa_bits) - 1;
  for (int i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const double exact = value_of(bits, mantissa_bits, bias);
    const float got = static_cast<float>(Half{bits});
    if (std::isnan(exact)) {
      CHECK(std::isnan(got));
      CHECK(std::isnan(static_cast<float>(Half::round(got))));
      continue;
    }
    CHECK(static_cast<double>(got) == exact && std::signbit(got) == std::signbit(exact));
    CHECK(Half::round(got).bits == bits);
    // Towards the next larger magnitude: just under half way, the tie, just over it.
    if ((bits & 0x7fff) > largest_finite) continue;
    const auto next = static_cast<uint16_t>(bits + 1);
    const double step =
        (bits & 0x7fff) < largest_finite
            ? value_of(next, mantissa_bits, bias) - exact
            : exact - value_of(static_cast<uint16_t>(bits - 1), mantissa_bits, bias);
    const auto half_way = static_cast<float>(exact + step / 2);
    if (static_cast<double>(half_way) != exact + step / 2) continue;  // below float's own range
    CHECK(Half::round(std::nextafter(half_way, got)).bits == bits);
    CHECK(Half::round(half_way).bits == (bits & 1 ? next : bits));
    CHECK(Half::round(std::nextafter(half_way, 2 * half_way)).bits == next);
  }
  CHECK(Half::round(std::numeric_limits<float>::max()).bits == largest_finite + 1);
  CHECK(Half::round(1e-45f).bits == 0);
}

int main() {
  test_type<BFloat16>(7, 127);
  test_type<Float16>(10, 15);
  return test::report();
}
