// The hand-written derivative of InfoNCE is the derivative: dual numbers through the value.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/info_nce.h"

using namespace fastloss;
using test::dscore;
using test::Dual;

// The definition, on any value type: no state, no stability.
template <class T>
T definition(const std::vector<T>& others, T target, double smoothing, bool decoupled) {
  T sum = decoupled ? T(0.0) : exp(target);
  T total = target;
  double allowed = 1;
  for (const T& s : others) {
    if (s == -math::kInfinity<T>) continue;
    sum += exp(s);
    total += s;
    allowed += 1;
  }
  return log(sum) - T(1 - smoothing) * target - T(smoothing / allowed) * total;
}

// The functor's own value as a function of one score: state by hand, since spans need real types.
Dual functor_value(const std::vector<Dual>& others, Dual target, double smoothing, bool decoupled) {
  InfoNce<Dual>::State state;
  Dual max = -math::kInfinity<Dual>;
  for (const Dual& s : others) max = s > max ? Dual(s.value) : max;
  Dual sum = 0.0;
  for (const Dual& s : others) {
    if (!(s == -math::kInfinity<Dual>)) sum += exp(s - max);
    if (smoothing > 0) state.scores.push(s);
  }
  state.lse = {max, sum};
  return InfoNce<Dual>{smoothing, decoupled}.finish(state, target).value;
}

InfoNce<double>::Row row_of(const std::vector<double>& others, double target, double smoothing,
                            bool decoupled) {
  const InfoNce<double> loss{smoothing, decoupled};
  const std::vector<double> zero(others.size(), 0.0);
  return loss.finish(loss.push(others.data(), zero.data(), 0, static_cast<int64_t>(others.size())),
                     target);
}

void test_derivative(std::vector<double> others, double target, double smoothing, bool decoupled) {
  const auto row = row_of(others, target, smoothing, decoupled);
  const std::vector<Dual> constant(others.begin(), others.end());
  const Dual expected = definition(constant, Dual(target, 1), smoothing, decoupled);
  CHECK_CLOSE(row.value, expected.value, 1e-13);
  CHECK_CLOSE(row.dtarget, expected.derivative, 1e-13);
  CHECK_CLOSE(functor_value(constant, Dual(target, 1), smoothing, decoupled).derivative,
              row.dtarget, 1e-13);
  double sum = row.dtarget;
  for (size_t j = 0; j < others.size(); ++j) {
    auto moved = constant;
    moved[j].derivative = 1;
    const double derivative = dscore(InfoNce<double>{smoothing, decoupled}, others[j], row);
    sum += derivative;
    CHECK_CLOSE(derivative, definition(moved, Dual(target), smoothing, decoupled).derivative,
                1e-13);
    CHECK_CLOSE(derivative, functor_value(moved, Dual(target), smoothing, decoupled).derivative,
                1e-13);
  }
  CHECK_CLOSE(sum, 0, 1e-13);  // a shift of all scores changes nothing
}

void test_weights() {
  const InfoNce<double> loss{0, false};
  std::vector<double> z = {0.5, -1.0, 2.0, -math::kInfinity<double>}, bias = {0.1, 0.2, -0.3, 0};
  const std::vector<double> factor = {2, 3, 5, 7};
  auto weights = z;
  const auto state = loss.weigh(weights.data(), bias.data(), factor.data(), 4);
  const auto row = loss.finish(state, 0.7);
  for (int j = 0; j < 4; ++j) {
    CHECK_CLOSE(weights[j] * loss.weigh_factor(state, row),
                factor[j] * dscore(loss, z[j] + bias[j], row), 1e-15);
  }
}

int main() {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 3);
  const double inf = math::kInfinity<double>;
  for (const bool decoupled : {false, true}) {
    for (const double smoothing : {0.0, 0.1, 1.0}) {
      if (decoupled && smoothing > 0) continue;
      for (const int count : {1, 3, 40}) {
        std::vector<double> others(count);
        for (double& s : others) s = normal(random);
        test_derivative(others, normal(random), smoothing, decoupled);
        if (count > 1) {
          others[count / 2] = -inf;  // a masked key
          test_derivative(others, normal(random), smoothing, decoupled);
        }
      }
    }
  }
  test_weights();

  // A trained row: loss and slope keep their digits in float32, where differences would have two.
  const InfoNce<float> loss{0, false};
  const float others[] = {-5, -5, -5}, zero[] = {0, 0, 0};
  const double exact = std::log1p(3 * std::exp(-10.0));
  const auto trained = loss.finish(loss.push(others, zero, 0, 3), 5);
  CHECK(std::abs(trained.value / exact - 1) < 1e-6);
  CHECK(std::abs(trained.dtarget / (std::exp(-exact) - 1) - 1) < 1e-6);
  CHECK_CLOSE(exact, 1.36e-4, 1e-6);

  // Scores of which float32 holds no more than 1/8192: what they tell apart is not rounded again.
  const float far[] = {1000, 1001};
  const auto row = loss.finish(loss.push(far, zero, 0, 2), 1000.5f);
  const double sum = std::exp(-0.5) + 1 + std::exp(0.5);
  CHECK(std::abs(row.value / std::log(sum) - 1) < 3e-7);
  CHECK(std::abs(row.dtarget / (1 / sum - 1) - 1) < 3e-7);
  float slope;
  loss.dscores(far, zero, 0, 1, row, 1.0f, &slope);
  CHECK(std::abs(slope / (std::exp(-0.5) / sum) - 1) < 3e-7);

  // Nothing to average: no negative left when decoupled, or no key at all.
  for (const auto& row : {row_of({}, 1.5, 0, true), row_of({-inf}, 1.5, 0, true),
                          row_of({-inf}, -inf, 0, false), row_of({}, -inf, 0.1, false)}) {
    CHECK(!row.counts() && row.value == 0 && row.dtarget == 0);
    CHECK(dscore(InfoNce<double>{}, 1.0, row) == 0);
    CHECK(dscore(InfoNce<double>{}, -inf, row) == 0);
  }
  CHECK(row_of({}, 1.5, 0, false).value == 0 && row_of({}, 1.5, 0, false).counts());
  CHECK(row_of({0.0}, -inf, 0, false).value == inf);
  CHECK(row_of({0.0}, -inf, 0, false).dtarget == -1);
  CHECK(std::isnan(row_of({std::nan("")}, 0.0, 0, false).value));
  CHECK(row_of({std::nan("")}, 0.0, 0, false).counts());
  CHECK(std::isfinite(row_of({1e4}, -1e4, 0, false).value));
  CHECK(row_of({-1e4}, 1e4, 0, false).value == 0);
  return test::report();
}
