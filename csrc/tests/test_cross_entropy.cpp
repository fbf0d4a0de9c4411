// The hand-written derivatives of cross-entropy, of classes and of distributions, are the
// derivatives; spans merge in any cut; offsets, removed classes and NaN.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/cross_entropy.h"

using namespace fastloss;
using test::Dual;

constexpr double kInf = math::kInfinity<double>;

struct Problem {
  std::vector<double> z, weight, target;
  double smoothing;

  const double* weights() const { return weight.empty() ? nullptr : weight.data(); }
};

// The definition: Σ q_c (lse − z_c), without stability. Removed classes (−inf) do not exist.
Dual definition(const Problem& problem, const std::vector<Dual>& z) {
  Dual sum = 0.0, loss = 0.0;
  double left = 0;
  for (const Dual& v : z) {
    if (v == -math::kInfinity<Dual>) continue;
    sum += exp(v);
    left += 1;
  }
  for (size_t c = 0; c < z.size(); ++c) {
    if (z[c] == -math::kInfinity<Dual>) continue;
    const double w = problem.weight.empty() ? 1 : problem.weight[c];
    const double q = w * ((1 - problem.smoothing) * problem.target[c] + problem.smoothing / left);
    loss += Dual(q) * (log(sum) - z[c]);
  }
  return loss;
}

// In two spans, as the engine pushes a long row.
SoftCrossEntropy<double>::Row soft_row(const Problem& p, size_t cut) {
  const SoftCrossEntropy<double> loss{p.smoothing, p.weights()};
  const auto n = static_cast<int64_t>(p.z.size()), first = static_cast<int64_t>(cut);
  SoftCrossEntropy<double>::State state;
  state.merge(loss.push(p.z.data(), p.target.data(), 0, first));
  state.merge(loss.push(p.z.data() + first, p.target.data() + first, first, n - first));
  return loss.finish(state);
}

CrossEntropy<double>::Row class_row(const Problem& p, size_t target) {
  const CrossEntropy<double> loss{p.smoothing, p.weights()};
  const auto n = static_cast<int64_t>(p.z.size()), t = static_cast<int64_t>(target);
  CrossEntropy<double>::State state;
  if (t > 0) state.merge(loss.push(p.z.data(), nullptr, 0, t));
  if (t + 1 < n) state.merge(loss.push(p.z.data() + t + 1, nullptr, t + 1, n - t - 1));
  return loss.finish(state, p.z[target], loss.weight_of(t));
}

void test_derivatives(const Problem& p, size_t target_class) {
  const auto n = static_cast<int64_t>(p.z.size());
  std::vector<double> soft(p.z.size()), hard(p.z.size());
  const auto soft_result = soft_row(p, p.z.size() / 3);
  SoftCrossEntropy<double>{p.smoothing, p.weights()}.dscores(p.z.data(), p.target.data(), 0, n,
                                                             soft_result, 1.0, soft.data());
  const auto hard_result = class_row(p, target_class);
  CrossEntropy<double>{p.smoothing, p.weights()}.dscores(p.z.data(), nullptr, 0, n, hard_result,
                                                         1.0, hard.data());
  hard[target_class] = hard_result.dtarget;

  Problem one_hot = p;
  one_hot.target.assign(p.z.size(), 0.0);
  one_hot.target[target_class] = 1;
  for (size_t c = 0; c < p.z.size(); ++c) {
    std::vector<Dual> moved(p.z.begin(), p.z.end());
    moved[c].derivative = 1;
    const Dual of_soft = definition(p, moved), of_hard = definition(one_hot, moved);
    CHECK_CLOSE(soft_result.value, of_soft.value, 1e-13);
    CHECK_CLOSE(hard_result.value, of_hard.value, 1e-13);
    const bool removed = p.z[c] == -kInf;
    CHECK_CLOSE(soft[c], removed ? 0 : of_soft.derivative, 1e-13);
    CHECK_CLOSE(hard[c], removed ? 0 : of_hard.derivative, 1e-13);
  }
}

// What float keeps of a row far from 0 is what it keeps of the row around 0.
void test_offset() {
  const float near[] = {0.5f, -1.25f, 2.0f, 0.25f}, target[] = {0.1f, 0.2f, 0.3f, 0.4f};
  float far[4];
  for (int i = 0; i < 4; ++i) far[i] = near[i] + 4096.0f;
  for (const float smoothing : {0.0f, 0.25f}) {
    const SoftCrossEntropy<float> soft{smoothing, nullptr};
    const auto a = soft.finish(soft.push(near, target, 0, 4));
    const auto b = soft.finish(soft.push(far, target, 0, 4));
    CHECK(a.value == b.value && a.share == b.share);
    float da[4], db[4];
    soft.dscores(near, target, 0, 4, a, 1.0f, da);
    soft.dscores(far, target, 0, 4, b, 1.0f, db);
    for (int i = 0; i < 4; ++i) CHECK(da[i] == db[i]);
    const CrossEntropy<float> hard{smoothing, nullptr};
    const auto c = hard.finish(hard.push(near, nullptr, 0, 3), near[3], 1);
    const auto d = hard.finish(hard.push(far, nullptr, 0, 3), far[3], 1);
    CHECK(c.value == d.value && c.dtarget == d.dtarget);
  }
}

// The state is a monoid: State{} is neutral, the cut does not matter.
void test_monoid(const Problem& p) {
  const SoftCrossEntropy<double> loss{p.smoothing, p.weights()};
  const auto whole = soft_row(p, 0);
  for (size_t cut = 0; cut <= p.z.size(); ++cut) {
    const auto row = soft_row(p, cut);
    CHECK_CLOSE(row.value, whole.value, 1e-14);
    CHECK_CLOSE(row.share, whole.share, 1e-14);
  }
  SoftCrossEntropy<double>::State state = loss.push(p.z.data(), p.target.data(), 0, 3),
                                  same = state;
  same.merge({});
  CHECK(same.all.sum == state.all.sum && same.own.gap == state.own.gap);
  CHECK(same.classes.weights.gap == state.classes.weights.gap);
}

int main() {
  std::mt19937 random(5);
  std::normal_distribution<double> normal(0, 3);
  for (const double smoothing : {0.0, 0.1, 1.0}) {
    for (const bool weighted : {false, true}) {
      for (const size_t count : {1, 2, 3, 30}) {
        Problem p{{}, {}, {}, smoothing};
        for (size_t c = 0; c < count; ++c) {
          p.z.push_back(normal(random));
          p.target.push_back(std::abs(normal(random)));
          if (weighted) p.weight.push_back(std::abs(normal(random)));
        }
        test_derivatives(p, count / 2);
        if (count < 3) continue;
        test_monoid(p);
        p.z[0] = -kInf;  // a removed class, without a share
        p.target[0] = 0;
        test_derivatives(p, count / 2);
        test_monoid(p);
      }
    }
  }
  test_offset();

  const auto row = [](std::vector<double> z, size_t target, double smoothing,
                      std::vector<double> weight = {}) {
    return class_row({std::move(z), std::move(weight), {}, smoothing}, target);
  };
  CHECK(row({-kInf, 0.0}, 0, 0).value == kInf);  // the target is removed
  CHECK(row({-kInf, 0.0}, 0, 0).dtarget == -1);
  CHECK(row({-kInf, 0.0}, 0, 0, {0, 1}).value == 0);  // but weighs nothing
  CHECK(!row({-kInf, -kInf}, 0, 0.5).counts());
  CHECK(row({-kInf, -kInf}, 0, 0.5).value == 0);
  CHECK(row({2.0}, 0, 0.5).value == 0);  // the only class
  CHECK(std::isnan(row({std::nan(""), 0.0}, 0, 0).value));
  CHECK(std::isnan(row({std::nan(""), 0.0}, 1, 0).value));
  CHECK(std::abs(row({0.0, -40.0}, 0, 0).value / std::exp(-40.0) - 1) < 1e-14);
  CHECK(std::abs(row({0.0, -40.0}, 0, 0).dtarget / -std::exp(-40.0) - 1) < 1e-14);

  const auto soft = [](std::vector<double> z, std::vector<double> target) {
    return soft_row({std::move(z), {}, std::move(target), 0}, 1);
  };
  CHECK(!soft({-kInf, -kInf}, {0.5, 0.5}).counts());
  CHECK(soft({-kInf, 0.0}, {0.5, 0.5}).value == kInf);
  CHECK(soft({-kInf, 0.0}, {0.0, 1.0}).value == 0);
  CHECK(std::isnan(soft({std::nan(""), 0.0}, {0.5, 0.5}).value));
  return test::report();
}
