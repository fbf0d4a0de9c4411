// Dual numbers a + b·ε with ε² = 0: evaluating a functor on x + ε gives its value and its exact
// derivative, against which the hand-written derivative is held.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/math.h"

namespace fastloss::test {

struct Dual {
  double value = 0;
  double derivative = 0;

  constexpr Dual() = default;
  constexpr Dual(double v) : value(v) {}  // NOLINT: constants mix freely with duals
  constexpr Dual(double v, double d) : value(v), derivative(d) {}

  Dual& operator+=(Dual b) { return *this = {value + b.value, derivative + b.derivative}; }
};

inline Dual operator-(Dual a) { return {-a.value, -a.derivative}; }
inline Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.derivative + b.derivative}; }
inline Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.derivative - b.derivative}; }
inline Dual operator*(Dual a, Dual b) {
  return {a.value * b.value, a.derivative * b.value + a.value * b.derivative};
}
inline Dual operator/(Dual a, Dual b) {
  return {a.value / b.value,
          (a.derivative * b.value - a.value * b.derivative) / (b.value * b.value)};
}
inline bool operator<(Dual a, Dual b) { return a.value < b.value; }
inline bool operator>(Dual a, Dual b) { return a.value > b.value; }
inline bool operator>=(Dual a, Dual b) { return a.value >= b.value; }
inline bool operator==(Dual a, Dual b) { return a.value == b.value; }
inline bool operator!=(Dual a, Dual b) { return a.value != b.value; }

// The functor's own ∂L/∂s of one score.
template <class Loss>
double dscore(const Loss& loss, double score, const typename Loss::Row& row, int64_t column = 0) {
  const double no_bias = 0;
  double out;
  loss.dscores(&score, &no_bias, column, 1, row, 1.0, &out);
  return out;
}

inline Dual exp(Dual a) { return {std::exp(a.value), std::exp(a.value) * a.derivative}; }
inline Dual log(Dual a) { return {std::log(a.value), a.derivative / a.value}; }
inline Dual sqrt(Dual a) { return {std::sqrt(a.value), a.derivative / (2 * std::sqrt(a.value))}; }
inline Dual log1p(Dual a) { return {std::log1p(a.value), a.derivative / (1 + a.value)}; }

}  // namespace fastloss::test

template <>
inline fastloss::test::Dual fastloss::math::exp_up_to_0(fastloss::test::Dual x) {
  return exp(x);
}

template <>
struct std::numeric_limits<fastloss::test::Dual> : std::numeric_limits<double> {
  static constexpr fastloss::test::Dual infinity() {
    return std::numeric_limits<double>::infinity();
  }
};
