// The hand-written derivatives of both divergences are the derivatives; spans merge in any cut.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/kl_div_with_logits.h"

using namespace fastloss;
using test::Dual;

constexpr double kInf = math::kInfinity<double>;

Dual definition(const std::vector<Dual>& z, const std::vector<double>& target, bool reverse) {
  Dual sum = 0.0, loss = 0.0;
  for (const Dual& v : z) {
    if (!(v == -math::kInfinity<Dual>)) sum += exp(v);
  }
  for (size_t c = 0; c < z.size(); ++c) {
    if (z[c] == -math::kInfinity<Dual>) continue;
    const Dual log_p = z[c] - log(sum);
    const double t = target[c];
    if (reverse) {
      loss += exp(log_p) * (log_p - Dual(std::log(t)));
    } else if (t > 0) {
      loss += Dual(t) * (Dual(std::log(t)) - log_p);
    }
  }
  return loss;
}

template <class Loss>
void test_derivative(const std::vector<double>& z, const std::vector<double>& target, bool is_log,
                     bool reverse) {
  std::vector<double> given = target;
  if (is_log) {
    for (double& t : given) t = std::log(t);
  }
  const Loss loss{{is_log}};
  const auto n = static_cast<int64_t>(z.size());
  for (int64_t cut = 0; cut <= n; ++cut) {
    typename Loss::State state;
    state.merge(loss.push(z.data(), given.data(), 0, cut));
    state.merge(loss.push(z.data() + cut, given.data() + cut, cut, n - cut));
    const auto row = loss.finish(state);
    std::vector<double> gradient(z.size());
    loss.dscores(z.data(), given.data(), 0, n, row, 1.0, gradient.data());
    for (size_t c = 0; c < z.size(); ++c) {
      std::vector<Dual> moved(z.begin(), z.end());
      moved[c].derivative = 1;
      const Dual expected = definition(moved, target, reverse);
      CHECK_CLOSE(row.value, expected.value, 1e-13);
      CHECK_CLOSE(gradient[c], z[c] == -kInf ? 0 : expected.derivative, 1e-13);
    }
  }
}

template <class Loss>
typename Loss::Row row_of(std::vector<double> z, std::vector<double> target) {
  const Loss loss{{false}};
  return loss.finish(loss.push(z.data(), target.data(), 0, static_cast<int64_t>(z.size())));
}

int main() {
  std::mt19937 random(5);
  std::normal_distribution<double> normal(0, 3);
  for (const bool is_log : {false, true}) {
    for (const size_t count : {1, 2, 7}) {
      std::vector<double> z(count), target(count);
      for (double& v : z) v = normal(random);
      for (double& t : target) t = std::abs(normal(random));
      test_derivative<KlDivForward<double>>(z, target, is_log, false);
      test_derivative<KlDivReverse<double>>(z, target, is_log, true);
      if (count < 3) continue;
      target[1] = 0;  // 0 · log 0 = 0
      test_derivative<KlDivForward<double>>(z, target, is_log, false);
      z[1] = -kInf;
      test_derivative<KlDivForward<double>>(z, target, is_log, false);
      test_derivative<KlDivReverse<double>>(z, target, is_log, true);
    }
  }
  using Forward = KlDivForward<double>;
  using Reverse = KlDivReverse<double>;
  CHECK(!row_of<Forward>({-kInf, -kInf}, {0.5, 0.5}).counts());
  CHECK(!row_of<Reverse>({-kInf, -kInf}, {0.5, 0.5}).counts());
  CHECK(row_of<Forward>({-kInf, 0.0}, {0.5, 0.5}).value == kInf);
  CHECK_CLOSE(row_of<Reverse>({-kInf, 0.0}, {0.5, 0.5}).value, std::log(2.0), 1e-15);
  CHECK(row_of<Reverse>({0.0, 0.0}, {0.0, 1.0}).value == kInf);
  CHECK(row_of<Forward>({0.0, 0.0}, {0.0, 0.0}).value == 0);
  CHECK(std::isnan(row_of<Forward>({std::nan(""), 0.0}, {0.5, 0.5}).value));
  CHECK(std::isnan(row_of<Reverse>({std::nan(""), 0.0}, {0.5, 0.5}).value));
  CHECK(std::isnan(row_of<Forward>({0.0, 0.0}, {std::nan(""), 0.5}).value));
  CHECK(Forward{{false}}.takes_target(1.0) && !Forward{{false}}.takes_target(1.1));
  CHECK(!Forward{{false}}.takes_target(-1e-9) && Forward{{false}}.takes_target(std::nan("")));
  CHECK(Forward{{true}}.takes_target(-kInf) && !Forward{{true}}.takes_target(0.1));
  return test::report();
}
