// exp within 2 ulp of the library's over its range, exact at the edges, in every SIMD clone;
// softplus, sigmoid and log_add_exp where naive forms fail.
#include <vector>

#include "check.h"
#include "core/math.h"
#include "core/simd.h"

using namespace fastloss;

template <class T>
void test_exp(T low, T high) {
  const T inf = math::kInfinity<T>;
  std::vector<T> x;
  for (int i = 0; i <= 200000; ++i) x.push_back(low + (high - low) * T(i) / T(200000));
  std::vector<T> y(x.size()), z(x.size());
  const T* const in = x.data();
  T* const out = y.data();
  T* const up_to_0 = z.data();
  const auto count = static_cast<int64_t>(x.size());
  simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      out[i] = math::exp(in[i]);
      up_to_0[i] = math::exp_up_to_0(in[i]);
    }
  });
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const long double exact = std::exp(static_cast<long double>(x[i]));
    const double error = static_cast<double>(std::abs((y[i] - exact) / exact));
    worst = std::max(worst, error / std::numeric_limits<T>::epsilon());
  }
  CHECK(worst <= 2);
  for (size_t i = 0; i < x.size(); ++i) CHECK(x[i] > T(1) || y[i] == z[i]);
  CHECK(math::exp_up_to_0(T(0)) == T(1));
  CHECK(math::exp_up_to_0(-inf) == T(0));
  CHECK(math::exp_up_to_0(T(-1e6)) == T(0));
  // A payload in the low bits must not reach the exponent.
  CHECK(std::isnan(math::exp_up_to_0(static_cast<T>(std::nan("7")))));
  CHECK(std::isnan(math::exp_up_to_0(-std::numeric_limits<T>::quiet_NaN())));
  CHECK(math::exp(T(0)) == T(1));
  CHECK(math::exp(-inf) == T(0));
  CHECK(math::exp(T(-1e6)) == T(0));
  CHECK(math::exp(inf) == inf);
  CHECK(math::exp(T(1e6)) == inf);
  CHECK(std::isnan(math::exp(std::numeric_limits<T>::quiet_NaN())));
}

int main() {
  for (const auto level : {simd::Level::kBaseline, simd::Level::kV3, simd::Level::kV4}) {
    simd::force(level);
    test_exp<float>(-87.3f, 88.7f);
    test_exp<double>(-708.3, 709.7);
  }
  const double inf = math::kInfinity<double>;
  CHECK_CLOSE(math::softplus(0.0), std::log(2.0), 1e-15);
  CHECK(math::softplus(1000.0) == 1000.0);
  CHECK(std::abs(math::softplus(-40.0) / std::exp(-40.0) - 1) < 1e-14);
  CHECK(math::softplus(-inf) == 0);
  CHECK(math::softplus(inf) == inf);
  CHECK(std::abs(math::sigmoid(-40.0) / std::exp(-40.0) - 1) < 1e-14);
  CHECK(math::sigmoid(-inf) == 0);
  CHECK(math::sigmoid(inf) == 1);
  CHECK(math::sigmoid(0.0) == 0.5);
  CHECK_CLOSE(math::log_add_exp(1.0, 2.0), std::log(std::exp(1.0) + std::exp(2.0)), 1e-15);
  CHECK(math::log_add_exp(-inf, 3.0) == 3.0);
  CHECK(math::log_add_exp(3.0, -inf) == 3.0);
  CHECK(math::log_add_exp(-inf, -inf) == -inf);
  CHECK_CLOSE(math::log_add_exp(1e5, 1e5), 1e5 + std::log(2.0), 1e-15);
  return test::report();
}
