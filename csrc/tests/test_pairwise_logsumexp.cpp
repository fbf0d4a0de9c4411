// The log-sum-exp and its derivative, at the edges too.
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/pairwise_logsumexp.h"

using namespace fastloss;
using test::dscore;
using test::Dual;

int main() {
  using Loss = PairwiseLogSumExp<double>;
  const double inf = math::kInfinity<double>;
  const Loss loss{};
  const std::vector<double> scores = {0.5, -3, 2, -inf, 1.5}, zero(5, 0.0);
  const auto row = loss.finish(loss.push(scores.data(), zero.data(), 0, 5), -inf);
  for (size_t j = 0; j < scores.size(); ++j) {
    Dual sum = 0.0;
    for (size_t k = 0; k < scores.size(); ++k) {
      if (scores[k] != -inf) sum += exp(Dual(scores[k], k == j ? 1 : 0));
    }
    CHECK_CLOSE(row.value, log(sum).value, 1e-15);
    CHECK_CLOSE(dscore(loss, scores[j], row), log(sum).derivative, 1e-15);
  }
  auto weights = scores;
  const std::vector<double> factor = {1, 2, 3, 4, 5};
  const auto state = loss.weigh(weights.data(), zero.data(), factor.data(), 5);
  for (int j = 0; j < 5; ++j) {
    CHECK_CLOSE(weights[j] * loss.weigh_factor(state, row),
                factor[j] * dscore(loss, scores[j], row), 1e-15);
  }

  for (const int64_t count : {0, 1}) {  // no terms, or only masked ones
    const auto empty = loss.finish(loss.push(&inf, &zero[0], 0, 0), -inf);
    CHECK(empty.value == -inf && dscore(loss, -inf, empty) == 0);
    const double masked[] = {-inf};
    CHECK(loss.finish(loss.push(masked, &zero[0], 0, count), -inf).value == -inf);
  }
  const double nan[] = {std::nan("")};
  CHECK(std::isnan(loss.finish(loss.push(nan, &zero[0], 0, 1), -inf).value));
  return test::report();
}
