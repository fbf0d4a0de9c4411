// Elementary functions with exact behaviour at the edges, on values of any type that has them.
//
// exp is written out because it is the inner loop of every normalised loss: branch-free, so that
// the compiler turns a loop over it into vector code, and right at −inf, +inf and NaN, which the
// masks and the error contract rely on. So are log and the logistic functions, the inner loops of
// the losses of single scores. Everything called once per row uses the standard library.
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

// 2^k · m = x with m in [√½, √2): f = m − 1 is exact, and log m = 2 atanh(f / (2 + f)).
template <class T>
struct LogTraits;

template <>
struct LogTraits<float> {
  static constexpr int32_t kSqrtHalf = 0x3f3504f3;
  static constexpr int kTerms = 5;          // s² ≤ 0.0295: remainder 2e-9
  static constexpr int kTermsOfLog1p = 7;   // s² ≤ 1/9: remainder 1e-8
  static constexpr float kScale = 0x1p24f;  // makes a subnormal number normal
  static constexpr float kScaleLog2 = 24.0f;
};

template <>
struct LogTraits<double> {
  static constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr int kTerms = 10;         // remainder 2e-17
  static constexpr int kTermsOfLog1p = 16;  // remainder 2e-17
  static constexpr double kScale = 0x1p54;
  static constexpr double kScaleLog2 = 54.0;
};

// atanh(s) / s = Σ_{k ≥ 0} s^(2k) / (2k + 1), `Terms` of them, by Horner's scheme.
template <class T, int Terms, int K = 0>
FASTLOSS_HOST_DEVICE T atanh_series(T square) {
  if constexpr (K == Terms - 1) {
    return T(1) / T(2 * K + 1);
  } else {
    return atanh_series<T, Terms, K + 1>(square) * square + T(1) / T(2 * K + 1);
  }
}

// log(1 + x) for x in [0, 1]: 2 atanh(z) with z = x / (2 + x) ≤ 1/3.
template <class T>
FASTLOSS_HOST_DEVICE T log1p_up_to_1(T x) {
  const T z = x / (T(2) + x);
  return T(2) * z * atanh_series<T, LogTraits<T>::kTermsOfLog1p>(z * z);
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

template <class T>
FASTLOSS_HOST_DEVICE T log_branch_free(T x) {
  using Bits = typename ExpTraits<T>::Bits;
  constexpr int kMantissaBits = ExpTraits<T>::kMantissaBits;
  const bool subnormal = x < std::numeric_limits<T>::min();
  const T normal = subnormal ? x * LogTraits<T>::kScale : x;
  Bits bits, round;
  std::memcpy(&bits, &normal, sizeof(T));
  const Bits exponent = (bits - LogTraits<T>::kSqrtHalf) >> kMantissaBits;
  bits -= exponent << kMantissaBits;
  T m;
  std::memcpy(&m, &bits, sizeof(T));
  // The integer becomes a number as in exp, the other way round: not every instruction set
  // converts 64-bit integers.
  std::memcpy(&round, &ExpTraits<T>::kRound, sizeof(T));
  round += exponent;
  T k;
  std::memcpy(&k, &round, sizeof(T));
  k -= ExpTraits<T>::kRound;
  k -= subnormal ? LogTraits<T>::kScaleLog2 : T(0);
  const T f = m - T(1);
  const T s = f / (T(2) + f);
  const T log_m = T(2) * s * atanh_series<T, LogTraits<T>::kTerms>(s * s);
  T result = k * ExpTraits<T>::kLn2High + (k * ExpTraits<T>::kLn2Low + log_m);
  result = x == kInfinity<T> ? x : result;
  result = x == T(0) ? -kInfinity<T> : result;
  return x >= T(0) ? result : std::numeric_limits<T>::quiet_NaN();
}

// log(x); −inf at 0, NaN below.
FASTLOSS_HOST_DEVICE float log(float x) {
#if defined(__CUDA_ARCH__)
  return ::logf(x);
#else
  return log_branch_free(x);
#endif
}

FASTLOSS_HOST_DEVICE double log(double x) {
#if defined(__CUDA_ARCH__)
  return ::log(x);
#else
  return log_branch_free(x);
#endif
}

// log(1 − p) for p in [0, 1], with full relative precision where p is small: what the subtraction
// rounds off, to first order.
template <class T>
FASTLOSS_HOST_DEVICE T log_complement(T p) {
  const T u = T(1) - p;
  const T rounded_off = (T(1) - u) - p;
  return log(u) + rounded_off / (u == T(0) ? T(1) : u);
}

// The logistic functions of x and of −x, each with full relative precision where it is tiny.
template <class T>
struct Logistic {
  T softplus;        // log(1 + e^x)
  T softplus_minus;  // log(1 + e^−x)
  T sigmoid;         // 1 / (1 + e^−x)
  T sigmoid_minus;   // 1 / (1 + e^x)
};

// With e = e^−|x| ≤ 1: log(1 + e) = 2 atanh(e / (2 + e)). One exponential, one division.
template <class T>
FASTLOSS_HOST_DEVICE Logistic<T> logistic(T x) {
  const bool positive = x > T(0);
  const T e = exp_up_to_0(positive ? -x : x);
  const T inverse = T(1) / ((T(1) + e) * (T(2) + e));
  const T s = e * (T(1) + e) * inverse;
  const T log1p = T(2) * s * atanh_series<T, LogTraits<T>::kTermsOfLog1p>(s * s);
  const T larger = (T(2) + e) * inverse, smaller = e * larger;
  return {positive ? x + log1p : log1p, positive ? log1p : log1p - x, positive ? larger : smaller,
          positive ? smaller : larger};
}

// The functions below run once per row. `using std::…` beside an unqualified call lets a value type
// of its own (the tests' dual numbers) bring its own overload.

// log(1 + e^x), with full relative precision where the result is tiny.
template <class T>
FASTLOSS_HOST_DEVICE T softplus(T x) {
  using std::log1p;
  return x > T(0) ? x + log1p(exp(-x)) : log1p(exp(x));
}

}  // namespace fastloss::math
