// exp, log and the logistic functions within a few ulp of the library's over their range, exact at
// the edges, in every SIMD clone; softplus where the naive form fails.
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

// Largest error of out[i] relative to exact(in[i]), in units of T.
template <class T, class Function, class Exact>
double worst_error(const std::vector<T>& x, const Function& function, const Exact& exact) {
  std::vector<T> y(x.size());
  const T* const in = x.data();
  T* const out = y.data();
  const auto count = static_cast<int64_t>(x.size());
  simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] = function(in[i]);
  });
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const long double true_value = exact(static_cast<long double>(x[i]));
    if (std::abs(true_value) < static_cast<long double>(std::numeric_limits<T>::min())) continue;
    const auto error = static_cast<double>(std::abs((y[i] - true_value) / true_value));
    worst = std::max(worst, error / static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
  return worst;
}

template <class T>
void test_log() {
  const T inf = math::kInfinity<T>, smallest = std::numeric_limits<T>::denorm_min();
  std::vector<T> x, p;
  for (int i = 0; i <= 100000; ++i) {
    x.push_back(std::exp(T(i - 50000) *
                         (std::numeric_limits<T>::max_exponent < 200 ? T(0.0017) : T(0.014))));
    x.push_back(T(1) + T(i - 50000) * T(1e-5));
    p.push_back(T(i) / T(100000));
    p.push_back(std::exp(-T(i) * T(8e-4)));
  }
  x.push_back(smallest);
  x.push_back(std::numeric_limits<T>::max());
  const auto log = [](T value) FASTLOSS_SIMD_LOOP { return math::log(value); };
  const auto log_complement = [](T value)
                                  FASTLOSS_SIMD_LOOP { return math::log_complement(value); };
  CHECK(worst_error(x, log, [](long double v) { return std::log(v); }) <= 2.5);
  CHECK(worst_error(p, log_complement, [](long double v) { return std::log1p(-v); }) <= 3);
  CHECK(math::log(T(1)) == T(0));
  CHECK(math::log(T(0)) == -inf);
  CHECK(math::log(inf) == inf);
  CHECK(std::isnan(math::log(T(-1))));
  CHECK(std::isnan(math::log(-inf)));
  CHECK(std::isnan(math::log(std::numeric_limits<T>::quiet_NaN())));
  CHECK(math::log_complement(T(1)) == -inf);
  CHECK(math::log_complement(T(0)) == T(0));
}

template <class T>
void test_logistic(T range) {
  std::vector<T> x;
  for (int i = 0; i <= 200000; ++i) x.push_back(range * T(i - 100000) / T(100000));
  const auto exp = [](long double v) { return std::exp(v); };
  const auto side = [&](auto member, const auto& exact) {
    const auto function = [member](T value)
                              FASTLOSS_SIMD_LOOP { return math::logistic(value).*member; };
    return worst_error(x, function, exact);
  };
  using L = math::Logistic<T>;
  const auto softplus = [&](long double v) {
    return v > 0 ? v + std::log1p(exp(-v)) : std::log1p(exp(v));
  };
  CHECK(side(&L::softplus, softplus) <= 4);
  CHECK(side(&L::softplus_minus, [&](long double v) { return softplus(-v); }) <= 4);
  CHECK(side(&L::sigmoid, [&](long double v) { return 1 / (1 + exp(-v)); }) <= 4);
  CHECK(side(&L::sigmoid_minus, [&](long double v) { return 1 / (1 + exp(v)); }) <= 4);
  const T inf = math::kInfinity<T>;
  const auto up = math::logistic(inf), down = math::logistic(-inf);
  CHECK(up.softplus == inf && up.softplus_minus == 0 && up.sigmoid == 1 && up.sigmoid_minus == 0);
  CHECK(down.softplus == 0 && down.softplus_minus == inf);
  CHECK(down.sigmoid == 0 && down.sigmoid_minus == 1);
  CHECK(math::logistic(T(0)).sigmoid == T(0.5));
  const auto nan = math::logistic(std::numeric_limits<T>::quiet_NaN());
  CHECK(std::isnan(nan.softplus) && std::isnan(nan.softplus_minus));
  CHECK(std::isnan(nan.sigmoid) && std::isnan(nan.sigmoid_minus));
}

int main() {
  for (const auto level : {simd::Level::kBaseline, simd::Level::kV3, simd::Level::kV4}) {
    simd::force(level);
    test_exp<float>(-87.3f, 88.7f);
    test_exp<double>(-708.3, 709.7);
    test_log<float>();
    test_log<double>();
    test_logistic<float>(85.0f);
    test_logistic<double>(700.0);
  }
  const double inf = math::kInfinity<double>;
  CHECK_CLOSE(math::softplus(0.0), std::log(2.0), 1e-15);
  CHECK(math::softplus(1000.0) == 1000.0);
  CHECK(std::abs(math::softplus(-40.0) / std::exp(-40.0) - 1) < 1e-14);
  CHECK(math::softplus(-inf) == 0);
  CHECK(math::softplus(inf) == inf);
  return test::report();
}
