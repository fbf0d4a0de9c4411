// Losses of sampled rows against their definitions, value and derivatives, by dual numbers; masked
// scores are never seen.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "engines/sampled_cpu.h"
#include "host_plain.h"
#include "losses/bpr_loss.h"
#include "losses/pairwise_margin_loss.h"

using namespace fastloss;
using test::Dual;

struct Problem {
  int64_t b, p, n;
  std::vector<double> positive, negative, positive_log_q, negative_log_q;
  std::vector<char> positive_where, negative_where;
  double scale = 1;

  SampledInput<double> input(bool masked, bool corrected) const {
    SampledInput<double> in{};
    in.rows = b;
    in.positives = p;
    in.negatives = n;
    in.positive = {positive.data(), StoredType::kDouble};
    in.negative = {negative.data(), StoredType::kDouble};
    if (masked) {
      in.positive_where = reinterpret_cast<const bool*>(positive_where.data());
      in.negative_where = reinterpret_cast<const bool*>(negative_where.data());
    }
    if (corrected) {
      in.positive_log_q = positive_log_q.data();
      in.negative_log_q = negative_log_q.data();
    }
    in.scale = scale;
    return in;
  }
};

Problem draw(int64_t b, int64_t p, int64_t n, bool masked) {
  std::mt19937 random(static_cast<unsigned>(b + 7 * p + 31 * n));
  std::normal_distribution<double> normal(0, 2);
  Problem problem{b, p, n, {}, {}, {}, {}, {}, {}};
  const auto fill = [&](int64_t count, std::vector<double>& scores, std::vector<double>& log_q,
                        std::vector<char>& where) {
    for (int64_t i = 0; i < count; ++i) {
      where.push_back(static_cast<char>(!masked || normal(random) > -1));
      scores.push_back(where.back() ? normal(random) : std::nan(""));
      log_q.push_back(normal(random));
    }
  };
  fill(b * p, problem.positive, problem.positive_log_q, problem.positive_where);
  fill(b * n, problem.negative, problem.negative_log_q, problem.negative_where);
  problem.scale = 1.7;
  return problem;
}

// The loss of a row with the derivative by one of its scores (or by the scale: side 2).
template <class Definition>
Dual row_of(const Problem& q, bool masked, int64_t row, int side, int64_t index,
            const Definition& definition) {
  std::vector<Dual> positive, negative;
  std::vector<double> positive_log_q, negative_log_q;
  for (int64_t i = 0; i < q.p; ++i) {
    const int64_t at = row * q.p + i;
    if (masked && !q.positive_where[at]) continue;
    positive.push_back({q.positive[at], side == 0 && index == i ? 1.0 : 0.0});
    positive_log_q.push_back(q.positive_log_q[at]);
  }
  for (int64_t j = 0; j < q.n; ++j) {
    const int64_t at = row * q.n + j;
    if (masked && !q.negative_where[at]) continue;
    negative.push_back({q.negative[at], side == 1 && index == j ? 1.0 : 0.0});
    negative_log_q.push_back(q.negative_log_q[at]);
  }
  return definition(positive, negative, positive_log_q, negative_log_q,
                    Dual{q.scale, side == 2 ? 1.0 : 0.0});
}

template <class Engine, class Definition>
void test_against(const Engine& engine, const Problem& q, bool masked, bool with_scale,
                  const Definition& definition) {
  std::vector<double> weights(q.b), losses(q.b), positive(q.b * q.p), negative(q.b * q.n),
      scale(q.b);
  for (int64_t row = 0; row < q.b; ++row) weights[row] = static_cast<double>(row % 4);
  SampledGradients<double> gradients{positive.data(), negative.data(),
                                     with_scale ? scale.data() : nullptr};
  const double total = engine.forward({weights.data(), 0.5}, losses.data(), gradients);
  double sum = 0;
  for (int64_t row = 0; row < q.b; ++row) {
    const double factor = 0.5 * weights[row];
    const auto loss = row_of(q, masked, row, -1, 0, definition);
    CHECK_CLOSE(losses[row], weights[row] == 0 ? 0 : weights[row] * loss.value, 1e-13);
    sum += losses[row];
    for (int64_t i = 0; i < q.p; ++i) {
      const Dual expected = row_of(q, masked, row, 0, i, definition);
      CHECK_CLOSE(positive[row * q.p + i], factor * expected.derivative, 1e-12);
    }
    for (int64_t j = 0; j < q.n; ++j) {
      const Dual expected = row_of(q, masked, row, 1, j, definition);
      CHECK_CLOSE(negative[row * q.n + j], factor * expected.derivative, 1e-12);
    }
    if (with_scale) {
      const Dual expected = row_of(q, masked, row, 2, 0, definition);
      CHECK_CLOSE(scale[row], factor * expected.derivative, 1e-12);
    }
  }
  CHECK_CLOSE(total, sum, 1e-13);
  CHECK(engine.forward({weights.data(), 0.5}, nullptr, {}) == total);
}

template <class Pair>
auto all_pairs(const Pair& pair) {
  return [=](const std::vector<Dual>& positive, const std::vector<Dual>& negative, const auto&,
             const auto&, Dual) {
    Dual sum = 0.0;
    for (const Dual& p : positive) {
      for (const Dual& n : negative) sum += pair(n - p);
    }
    return sum;
  };
}

int main() {
  host::thread_count = 3;
  const auto softplus = [](Dual x) { return log(Dual(1) + exp(x)); };
  const auto hinge = [](Dual x) { return x > Dual(-0.25) ? x + Dual(0.25) : Dual(0); };
  const auto softmax = [](const std::vector<Dual>& positive, const std::vector<Dual>& negative,
                          const std::vector<double>& own, const std::vector<double>& others,
                          Dual scale) {
    const Dual z = positive[0] * scale - Dual(own[0]);
    Dual sum = exp(z);
    for (size_t j = 0; j < negative.size(); ++j) sum += exp(negative[j] * scale - Dual(others[j]));
    return log(sum) - z;
  };
  for (const bool masked : {false, true}) {
    for (const auto& [p, n] : {std::pair<int64_t, int64_t>{1, 1},
                               {1, 20},
                               {1, 8},
                               {1, 70},
                               {1, 128},
                               {1, 129},
                               {20, 1},
                               {3, 5},
                               {5, 3},
                               {0, 4},
                               {4, 0},
                               {1, 0}}) {
      const Problem q = draw(9, p, n, masked);
      const auto in = q.input(masked, false);
      test_against(SampledPairsCpu<BprLoss<double>, double>(in, {}), q, masked, false,
                   all_pairs(softplus));
      test_against(SampledPairsCpu<PairwiseMarginLoss<double>, double>(in, {0.25}), q, masked,
                   false, all_pairs(hinge));
      for (int64_t row = 0; row < q.b; ++row) {
        const auto one = all_pairs([](Dual) { return Dual(1); });
        CHECK(count_pairs(in, row) == row_of(q, masked, row, -1, 0, one).value);
      }
    }
    for (const auto& [b, n] : {std::pair<int64_t, int64_t>{9, 1},
                               {9, 2},
                               {9, 33},
                               {9, 0},
                               {1, 3},
                               {15, 128},
                               {16, 129},
                               {17, 7},
                               {31, 8},
                               {32, 9},
                               {33, 16}}) {
      Problem q = draw(b, 1, n, masked);
      for (int64_t row = 0; row < q.b; ++row) {
        if (!q.positive_where[row]) q.positive[row] = 0.5;
        q.positive_where[row] = 1;
      }
      auto in = q.input(masked, true);
      in.positive_where = nullptr;
      test_against(SampledSoftmaxCpu<double>(in), q, masked, true, softmax);
    }
  }
  const Problem many = draw(9000, 1, 2, true);  // more rows than a task has
  const auto in = many.input(true, false);
  test_against(SampledPairsCpu<BprLoss<double>, double>(in, {}), many, true, false,
               all_pairs(softplus));
  return test::report();
}
