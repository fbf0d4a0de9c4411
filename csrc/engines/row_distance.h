// Distances of two rows x and y of features, and their gradients.
//
//     euclidean    D = ‖δ‖,  δ = x − y + ε       ∂D/∂δ = δ / D
//     sqeuclidean  D = ‖δ‖²                      ∂D/∂δ = 2δ
//     minkowski    D = (Σ |δ_k|^p)^(1/p)         ∂D/∂δ_k = sign δ_k · (|δ_k| / D)^(p−1)
//     cosine       D = 1 − c,  c = ⟨x̂, ŷ⟩        ∂D/∂x = −(ŷ − c x̂) / ‖x‖,  ∂D/∂y likewise
//     dot          D = −⟨x, y⟩                   ∂D/∂x = −y,  ∂D/∂y = −x
// The first three know differences only, formed before anything is squared: an offset common to all
// rows costs no digit. Where D = 0 has no derivative it is 0. A zero row has c = 0 and derivative
// 0.
//
// Sums are in double. What they still cannot hold (rows of double beyond 1e±135), and gradients
// that a factor 1 / D would push out of T's range, are formed of rows times a power of two.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/host_device.h"
#include "core/math.h"
#include "core/simd.h"

namespace fastloss {

enum class Distance { kEuclidean, kSquaredEuclidean, kMinkowski, kCosine, kDot };

template <class T>
class RowDistance {
 public:
  Distance kind = Distance::kEuclidean;
  double p = 2;  // kMinkowski, at least 1
  T eps = 0;     // of the kinds that know differences

  // What is multiplied by the power of two `unit` has the length 1 / inverse; a zero row has 0.
  struct Scaled {
    double unit = 1;
    double inverse = 0;
  };

  // What the gradients of two rows need: δ, or each row for a cosine.
  struct Pair {
    double distance = 0;
    Scaled delta{}, x{}, y{};
    double cosine = 0;
  };

  // A row is work enough for a call, so that the loops over its features exist once, not once a
  // caller.
  __attribute__((noinline)) Pair measure(const T* x, const T* y, int64_t d) const {
    Pair pair;
    simd::dispatch([&pair, x, y, d, this]() FASTLOSS_SIMD_LOOP { pair = measured(x, y, d); });
    return pair;
  }

  // out += factor · ∂D/∂x.
  void add_first(const Pair& pair, double factor, const T* x, const T* y, int64_t d, T* out) const {
    add(pair, factor, x, y, pair.x, pair.y, d, out);
  }

  // out += factor · ∂D/∂y.
  void add_second(const Pair& pair, double factor, const T* x, const T* y, int64_t d,
                  T* out) const {
    if (kind == Distance::kCosine || kind == Distance::kDot) {
      add(pair, factor, y, x, pair.y, pair.x, d, out);
    } else {
      add(pair, -factor, x, y, pair.x, pair.y, d, out);
    }
  }

 private:
  // Of lengths between them double holds the squares, and T the inverse.
  static constexpr double kLeast = std::is_same_v<T, double> ? 0x1p-450 : 0x1p-100;
  static constexpr double kMost = 1 / kLeast;

  struct Products {
    double xx, yy, xy;
  };

  FASTLOSS_HOST_DEVICE double squares(const T* __restrict x, const T* __restrict y, int64_t d,
                                      double unit) const {
    const T shift = eps;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < d; ++k) {
      const double delta = static_cast<double>(x[k] - y[k] + shift) * unit;
      sum += delta * delta;
    }
    return sum;
  }

  FASTLOSS_HOST_DEVICE static Products products(const T* __restrict x, const T* __restrict y,
                                                int64_t d, double x_unit, double y_unit) {
    double xx = 0, yy = 0, xy = 0;
#pragma omp simd reduction(+ : xx, yy, xy)
    for (int64_t k = 0; k < d; ++k) {
      const double a = static_cast<double>(x[k]) * x_unit, b = static_cast<double>(y[k]) * y_unit;
      xx += a * a;
      yy += b * b;
      xy += a * b;
    }
    return {xx, yy, xy};
  }

  FASTLOSS_HOST_DEVICE double largest_difference(const T* __restrict x, const T* __restrict y,
                                                 int64_t d) const {
    const T shift = eps;
    T largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t k = 0; k < d; ++k) {
      const T delta = x[k] - y[k] + shift, size = delta < T(0) ? -delta : delta;
      largest = size > largest ? size : largest;
    }
    return static_cast<double>(largest);
  }

  FASTLOSS_HOST_DEVICE static double largest(const T* __restrict x, int64_t d) {
    T largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t k = 0; k < d; ++k) {
      const T size = x[k] < T(0) ? -x[k] : x[k];
      largest = size > largest ? size : largest;
    }
    return static_cast<double>(largest);
  }

  // The power of two that brings numbers up to `largest` near 1, as far as T has it; 1 where there
  // is nothing to bring: 0, infinity.
  FASTLOSS_HOST_DEVICE static double unit_of(double largest) {
    if (!(largest > 0 && largest <= std::numeric_limits<double>::max())) return 1;
    constexpr int kLastPower = std::numeric_limits<T>::max_exponent - 2;
    return std::ldexp(1.0, std::min(kLastPower, -std::ilogb(largest)));
  }

  FASTLOSS_HOST_DEVICE static bool is_safe(double square) {
    return square >= kLeast * kLeast && square <= kMost * kMost;
  }

  FASTLOSS_HOST_DEVICE static double inverse_root(double square) {
    return square == 0 ? 0 : 1 / std::sqrt(square);
  }

  FASTLOSS_HOST_DEVICE Pair measured(const T* x, const T* y, int64_t d) const {
    switch (kind) {
      case Distance::kEuclidean:
        return euclidean(x, y, d);
      case Distance::kSquaredEuclidean:
        return {.distance = squares(x, y, d, 1)};
      case Distance::kMinkowski:
        return minkowski(x, y, d);
      case Distance::kCosine:
        return cosine(x, y, d);
      case Distance::kDot:
        break;
    }
    return {.distance = -products(x, y, d, 1, 1).xy};
  }

  FASTLOSS_HOST_DEVICE Pair euclidean(const T* x, const T* y, int64_t d) const {
    Pair pair;
    double square = squares(x, y, d, 1);
    if (!is_safe(square)) {
      pair.delta.unit = unit_of(largest_difference(x, y, d));
      square = squares(x, y, d, pair.delta.unit);
    }
    pair.delta.inverse = inverse_root(square);
    pair.distance = std::sqrt(square) / pair.delta.unit;
    return pair;
  }

  // Powers of |δ| / max |δ|: the largest term of the sum is 1.
  FASTLOSS_HOST_DEVICE Pair minkowski(const T* __restrict x, const T* __restrict y,
                                      int64_t d) const {
    const double unit = largest_difference(x, y, d);
    if (unit == 0 || unit > std::numeric_limits<double>::max()) {
      return {.distance = squares(x, y, d, 1)};  // 0, infinity, or a NaN among them
    }
    const double power = p;
    const T shift = eps;
    double sum = 0;
    if (power == 1) {
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < d; ++k) {
        sum += std::abs(static_cast<double>(x[k] - y[k] + shift)) / unit;
      }
    } else {
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < d; ++k) {
        const double share = std::abs(static_cast<double>(x[k] - y[k] + shift)) / unit;
        sum += math::exp_up_to_0(power * math::log(share));
      }
    }
    return {.distance = unit * std::pow(sum, 1 / power)};
  }

  FASTLOSS_HOST_DEVICE Pair cosine(const T* x, const T* y, int64_t d) const {
    Pair pair;
    Products of = products(x, y, d, 1, 1);
    if (!(is_safe(of.xx) && is_safe(of.yy))) {
      pair.x.unit = unit_of(largest(x, d));
      pair.y.unit = unit_of(largest(y, d));
      of = products(x, y, d, pair.x.unit, pair.y.unit);
    }
    pair.x.inverse = inverse_root(of.xx);
    pair.y.inverse = inverse_root(of.yy);
    pair.cosine = of.xy * pair.x.inverse * pair.y.inverse;
    pair.distance = 1 - pair.cosine;
    return pair;
  }

  __attribute__((noinline)) void add(const Pair& pair, double factor, const T* x, const T* y,
                                     const Scaled& x_scaled, const Scaled& y_scaled, int64_t d,
                                     T* out) const {
    simd::dispatch([=, this, &pair, &x_scaled, &y_scaled]() FASTLOSS_SIMD_LOOP {
      added(pair, factor, x, y, x_scaled, y_scaled, d, out);
    });
  }

  FASTLOSS_HOST_DEVICE void added(const Pair& pair, double factor, const T* __restrict x,
                                  const T* __restrict y, const Scaled& x_scaled,
                                  const Scaled& y_scaled, int64_t d, T* __restrict out) const {
    const T shift = eps;
    if (kind == Distance::kEuclidean) {
      if (pair.distance == 0) return;
      const T unit = static_cast<T>(pair.delta.unit);
      const T slope = static_cast<T>(factor * pair.delta.inverse);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) out[k] += (x[k] - y[k] + shift) * unit * slope;
    } else if (kind == Distance::kSquaredEuclidean) {
      const T slope = static_cast<T>(2 * factor);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) out[k] += (x[k] - y[k] + shift) * slope;
    } else if (kind == Distance::kMinkowski) {
      if (pair.distance == 0) return;
      add_minkowski(pair, factor, x, y, d, out);
    } else if (kind == Distance::kCosine) {
      // Infinity, of the shortest rows, would make a NaN of 0.
      constexpr double kLargest = static_cast<double>(std::numeric_limits<T>::max());
      const double steep = -factor * x_scaled.inverse * x_scaled.unit;
      const T slope = static_cast<T>(steep < -kLargest  ? -kLargest
                                     : steep > kLargest ? kLargest
                                                        : steep);
      const T x_unit = static_cast<T>(x_scaled.unit), y_unit = static_cast<T>(y_scaled.unit);
      const T u = static_cast<T>(x_scaled.inverse * pair.cosine);
      const T v = static_cast<T>(y_scaled.inverse);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) {
        out[k] += (y[k] * y_unit * v - x[k] * x_unit * u) * slope;
      }
    } else {
      const T slope = static_cast<T>(-factor);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) out[k] += y[k] * slope;
    }
  }

  FASTLOSS_HOST_DEVICE void add_minkowski(const Pair& pair, double factor, const T* __restrict x,
                                          const T* __restrict y, int64_t d,
                                          T* __restrict out) const {
    const T shift = eps;
    const double power = p - 1, distance = pair.distance;
    if (power == 0) {
      const T slope = static_cast<T>(factor);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) {
        const T delta = x[k] - y[k] + shift;
        out[k] += delta > T(0) ? slope : delta < T(0) ? -slope : delta * slope;
      }
      return;
    }
#pragma omp simd
    for (int64_t k = 0; k < d; ++k) {
      const double delta = static_cast<double>(x[k] - y[k] + shift);
      const double steep = math::exp_up_to_0(power * math::log(std::abs(delta) / distance));
      out[k] += static_cast<T>(delta < 0 ? -factor * steep : factor * steep);
    }
  }
};

}  // namespace fastloss
