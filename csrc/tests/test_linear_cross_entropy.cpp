// The hand-written derivative of the weighted, smoothed cross-entropy is the derivative.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/linear_cross_entropy.h"

using namespace fastloss;
using test::dscore;
using test::Dual;

using Loss = LinearCrossEntropy<double>;

// The definition: no state, no stability. Removed classes (−inf) do not exist.
Dual definition(const std::vector<Dual>& scores, size_t target, const std::vector<double>& weight,
                double smoothing) {
  Dual sum = 0.0, uniform = 0.0;
  double left = 0;
  for (const Dual& s : scores) {
    if (!(s == -math::kInfinity<Dual>)) sum += exp(s);
  }
  for (size_t c = 0; c < scores.size(); ++c) {
    if (scores[c] == -math::kInfinity<Dual>) continue;
    uniform += Dual(weight[c]) * (log(sum) - scores[c]);
    left += 1;
  }
  return Dual((1 - smoothing) * weight[target]) * (log(sum) - scores[target]) +
         Dual(smoothing / left) * uniform;
}

Loss::Row row_of(const Loss& loss, std::vector<double> scores, size_t target) {
  const double own = scores[target];
  scores[target] = -math::kInfinity<double>;  // as the engine shows it
  const std::vector<double> zero(scores.size(), 0.0);
  // In two spans: weights go by column.
  const auto count = static_cast<int64_t>(scores.size()), half = count / 2;
  auto state = loss.push(scores.data(), zero.data(), 0, half);
  state.merge(loss.push(scores.data() + half, zero.data(), half, count - half));
  return loss.finish(state, own, static_cast<int64_t>(target));
}

void test_derivative(const std::vector<double>& scores, size_t target, double smoothing,
                     const std::vector<double>& weight, bool weighted) {
  const Loss loss{smoothing, weighted ? weight.data() : nullptr};
  const std::vector<double> used = weighted ? weight : std::vector<double>(scores.size(), 1.0);
  const auto row = row_of(loss, scores, target);
  for (size_t c = 0; c < scores.size(); ++c) {
    std::vector<Dual> moved(scores.begin(), scores.end());
    moved[c].derivative = 1;
    const Dual expected = definition(moved, target, used, smoothing);
    CHECK_CLOSE(row.value, expected.value, 1e-13);
    if (scores[c] == -math::kInfinity<double>) {
      CHECK(dscore(loss, scores[c], row, static_cast<int64_t>(c)) == 0);
      continue;
    }
    const double got =
        c == target ? row.dtarget : dscore(loss, scores[c], row, static_cast<int64_t>(c));
    CHECK_CLOSE(got, expected.derivative, 1e-13);
  }
}

void test_weights() {
  const double class_weight[] = {0.5, 2, 1};
  const Loss loss{0, class_weight};
  double z[] = {0.5, -1.0, -math::kInfinity<double>};
  const double bias[] = {0.1, 0.2, 0}, factor[] = {2, 3, 5};
  double weights[] = {z[0], z[1], z[2]};
  const auto state = loss.weigh(weights, bias, factor, 3);
  const auto row = loss.finish(state, 0.7, 2);
  for (int j = 0; j < 3; ++j) {
    CHECK_CLOSE(weights[j] * loss.weigh_factor(state, row),
                factor[j] * dscore(loss, z[j] + bias[j], row, j), 1e-15);
  }
}

int main() {
  std::mt19937 random(5);
  std::normal_distribution<double> normal(0, 3);
  const double inf = math::kInfinity<double>;
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    for (const bool weighted : {false, true}) {
      for (const size_t count : {1, 2, 30}) {
        std::vector<double> scores(count), weight(count);
        for (double& s : scores) s = normal(random);
        for (double& w : weight) w = std::abs(normal(random));
        test_derivative(scores, count / 2, smoothing, weight, weighted);
        weight[count / 2] = 0;
        test_derivative(scores, count / 2, smoothing, weight, weighted);
        if (count > 2) {
          scores[0] = -inf;  // a removed class
          test_derivative(scores, count / 2, smoothing, weight, weighted);
        }
      }
    }
  }
  test_weights();

  const double none[] = {0, 1};
  CHECK(row_of({0, nullptr}, {-inf, 0.0}, 0).value == inf);  // the target is removed
  CHECK(row_of({0, nullptr}, {-inf, 0.0}, 0).dtarget == -1);
  CHECK(row_of({0, none}, {-inf, 0.0}, 0).value == 0);  // but weighs nothing
  CHECK(!row_of({0.5, nullptr}, {-inf, -inf}, 0).counts());
  CHECK(row_of({0.5, nullptr}, {-inf, -inf}, 0).value == 0);
  CHECK(std::isnan(row_of({0, nullptr}, {std::nan(""), 0.0}, 1).value));
  // A row without a class has no weight: what lies before the weights is not read.
  const double before[] = {7, 1, 2};
  const Loss weighted{0, before + 1};
  const double scores[] = {0.5, -1.0}, zero[] = {0, 0};
  CHECK(weighted.finish(weighted.push(scores, zero, 0, 2), -inf, -1).value == 0);
  return test::report();
}
