// Elementary functions with exact behaviour at the edges, on values of any type that has them.
//
// exp is written out because it is the inner loop of every normalised loss: branch-free, so that
// the compiler turns a loop over it into vector code, and right at −inf, +inf and NaN, which the
// masks and the error contract rely on. Everything called once per row uses the standard library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/host_device.h"

namespace fastloss::math {

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// exp(x) = 2^k · exp(r) with k = round(x / ln 2) and |r| ≤ ln(2)/2. On that interval Taylor's
// polynomial is exact to rounding from degree 7 (float, remainder 5e-9) and 13 (double, 4e-18) on.
template <class T>
struct ExpTraits;

template <>
struct ExpTraits<float> {
  using Bits = int32_t;
  static constexpr int kDegree = 7;
  static constexpr int kMantissaBits = 23;
  // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the mantissa.
  static constexpr float kRound = 12582912.0f;
  // ln 2 in two parts; k · kLn2High is exact for every k that occurs.
  static constexpr float kLn2High = 0.693359375f;
  static constexpr float kLn2Low = -2.12194440054690583e-4f;
  static constexpr float kSmallest = -87.33654f;  // below: the result would be subnormal, 0 here
  static constexpr float kLargest = 88.722836f;   // above: infinity
};

template <>
struct ExpTraits<double> {
  using Bits = int64_t;
  static constexpr int kDegree = 13;
  static constexpr int kMantissaBits = 52;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kLn2High = 0.693147180369123816490;
  static constexpr double kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kSmallest = -708.39641853226408;
  static constexpr double kLargest = 709.78271289338397;
};

template <class T>
constexpr T inverse_factorial(int k) {
  T product = 1;
  for (int i = 2; i <= k; ++i) product *= static_cast<T>(i);
  return T(1) / product;
}

// Horner's scheme, unrolled by the compiler: Σ_{k ≥ K} r^(k−K) / k!.
template <class T, int K = 0>
FASTLOSS_HOST_DEVICE T exp_polynomial(T r) {
  if constexpr (K == ExpTraits<T>::kDegree) {
    return inverse_factorial<T>(K);
  } else {
    return exp_polynomial<T, K + 1>(r) * r + inverse_factorial<T>(K);
  }
}

// kUpTo0 leaves out what only large x need.
template <bool kUpTo0, class T>
FASTLOSS_HOST_DEVICE T exp_branch_free(T x) {
  using Traits = ExpTraits<T>;
  using Bits = typename Traits::Bits;
  T clamped = x < Traits::kSmallest ? Traits::kSmallest : x;
  if constexpr (!kUpTo0) clamped = clamped > Traits::kLargest ? Traits::kLargest : clamped;
  const T shifted = clamped * T(1.44269504088896340736) + Traits::kRound;
  const T k = shifted - Traits::kRound;
  const T r = (clamped - k * Traits::kLn2High) - k * Traits::kLn2Low;
  T result = exp_polynomial<T>(r);
  // Multiply by 2^k: k stands in the low mantissa bits of `shifted`; add it to the exponent.
  Bits exponent, bits;
  std::memcpy(&exponent, &shifted, sizeof(T));
  std::memcpy(&bits, &result, sizeof(T));
  bits += exponent << Traits::kMantissaBits;
  std::memcpy(&result, &bits, sizeof(T));
  result = x < Traits::kSmallest ? T(0) : result;
  if constexpr (!kUpTo0) result = x > Traits::kLargest ? kInfinity<T> : result;
  return x != x ? x : result;
}

FASTLOSS_HOST_DEVICE float exp(float x) {
#if defined(__CUDA_ARCH__)
  return ::expf(x);
#else
  return exp_branch_free<false>(x);
#endif
}

FASTLOSS_HOST_DEVICE double exp(double x) {
#if defined(__CUDA_ARCH__)
  return ::exp(x);
#else
  return exp_branch_free<false>(x);
#endif
}

// exp(x) for x ≤ 0 (or NaN, or above 0 by no more than rounding): what scores less their maximum or
// their log-sum-exp are. It is the inner loop of every normalised loss.
template <class T>
FASTLOSS_HOST_DEVICE T exp_up_to_0(T x) {
#if defined(__CUDA_ARCH__)
  return exp(x);
#else
  return exp_branch_free<true>(x);
#endif
}

// log(1 + x) for x in [0, 1]: 2 artanh(z) with z = x / (2 + x) ≤ 1/3, by artanh's series in z², all
// of whose terms are positive. Relative remainder 1.4e-9 (float, 8 terms), 2e-17 (double, 16).
template <class T, int K = 0>
FASTLOSS_HOST_DEVICE T artanh_polynomial(T square) {
  constexpr int kTerms = sizeof(T) == sizeof(float) ? 8 : 16;
  if constexpr (K == kTerms - 1) {
    return T(2) / T(2 * K + 1);
  } else {
    return artanh_polynomial<T, K + 1>(square) * square + T(2) / T(2 * K + 1);
  }
}

template <class T>
FASTLOSS_HOST_DEVICE T log1p_up_to_1(T x) {
  const T z = x / (T(2) + x);
  return z * artanh_polynomial<T>(z * z);
}

// 2^x − 1 for x ≥ 0, the gain of a graded label: exact for whole x, relatively precise near 0.
template <class T>
FASTLOSS_HOST_DEVICE T exp2_minus_1(T x) {
  using Traits = ExpTraits<T>;
  using Bits = typename Traits::Bits;
  constexpr T kEnd = T(std::numeric_limits<T>::max_exponent) - T(1);
  const T clamped = x > kEnd ? kEnd : x;
  const T shifted = clamped + Traits::kRound;
  const T k = shifted - Traits::kRound;
  const T r = (clamped - k) * T(0.693147180559945309417);
  Bits bits, exponent;
  std::memcpy(&exponent, &shifted, sizeof(T));
  const T one = T(1);
  std::memcpy(&bits, &one, sizeof(T));
  bits += exponent << Traits::kMantissaBits;
  T power;
  std::memcpy(&power, &bits, sizeof(T));
  // 2^k (e^r − 1) + (2^k − 1)
  const T result = power * (exp_polynomial<T, 1>(r) * r) + (power - T(1));
  return x != x ? x : x > kEnd ? kInfinity<T> : result;
}

// The functions below run once per row. `using std::…` beside an unqualified call lets a value type
// of its own (the tests' dual numbers) bring its own overload.

// log(1 + e^x), with full relative precision where the result is tiny.
template <class T>
FASTLOSS_HOST_DEVICE T softplus(T x) {
  using std::log1p;
  return x > T(0) ? x + log1p(exp(-x)) : log1p(exp(x));
}

// 1 / (1 + e^{−x}), with full relative precision at both ends.
template <class T>
FASTLOSS_HOST_DEVICE T sigmoid(T x) {
  if (x >= T(0)) return T(1) / (T(1) + exp(-x));
  const T e = exp(x);
  return e / (T(1) + e);
}

// log(e^a + e^b); −inf stands for "no term".
template <class T>
FASTLOSS_HOST_DEVICE T log_add_exp(T a, T b) {
  if (a == -kInfinity<T>) return b;
  return a + softplus(b - a);
}

}  // namespace fastloss::math
