// Losses of the softmax of rows on the device, against their definitions.
#include "pairwise_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

double lse_of(const std::vector<double>& s, const std::vector<char>& allowed, int64_t without) {
  double max = -kInf, sum = 0;
  for (size_t j = 0; j < s.size(); ++j) {
    if (allowed[j] && static_cast<int64_t>(j) != without) max = std::fmax(max, s[j]);
  }
  for (size_t j = 0; j < s.size(); ++j) {
    if (!allowed[j] || static_cast<int64_t>(j) == without || s[j] == -kInf) continue;
    sum += std::exp(s[j] - max);
  }
  return max == -kInf && sum == 0 ? -kInf : max + std::log(sum);
}

Definition info_nce(double smoothing, bool decoupled) {
  return [=](const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
             double& value, std::vector<double>& slope) {
    const double lse = lse_of(s, allowed, decoupled ? t : -1);
    if (lse == -kInf) return false;
    double mean = 0, count = 0;
    for (size_t j = 0; j < s.size(); ++j) {
      if (allowed[j] && s[j] != -kInf) mean += s[j], count += 1;
    }
    mean /= count;
    value = lse - (1 - smoothing) * s[t] - smoothing * mean;
    if (smoothing == 0) value = lse - s[t];
    const auto p = [&](size_t j) { return s[j] == -kInf ? 0 : std::exp(s[j] - lse); };
    double missing = 0;  // 1 - p of the target, without a difference
    for (size_t j = 0; j < s.size(); ++j) {
      if (!allowed[j] || static_cast<int64_t>(j) == t) continue;
      missing += p(j);
      slope[j] = p(j) - (s[j] == -kInf ? 0 : smoothing / count);
    }
    slope[t] = decoupled ? -1 : smoothing * (p(t) - 1 / count) - (1 - smoothing) * missing;
    if (smoothing == 0) slope[t] = decoupled ? -1 : -missing;
    return true;
  };
}

Definition logsumexp() {
  return [](const std::vector<double>& s, const std::vector<char>& allowed, int64_t, double& value,
            std::vector<double>& slope) {
    value = lse_of(s, allowed, -1);
    for (size_t j = 0; j < s.size(); ++j) slope[j] = s[j] == -kInf ? 0 : std::exp(s[j] - value);
    return true;
  };
}

Definition linear_cross_entropy(double smoothing, const std::vector<double>& weight) {
  return [=](const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
             double& value, std::vector<double>& slope) {
    if (t < 0) return false;
    const double lse = lse_of(s, allowed, -1);
    double all = 0, count = 0;
    for (const double x : s) count += x != -kInf;
    value = weight[t] == 0 ? 0 : (1 - smoothing) * weight[t] * (lse - s[t]);
    for (size_t c = 0; c < s.size(); ++c) {
      if (s[c] == -kInf) continue;
      value += smoothing == 0 ? 0 : smoothing / count * weight[c] * (lse - s[c]);
      all += weight[c];
      slope[c] -= smoothing / count * weight[c];
    }
    const double share = (1 - smoothing) * weight[t] + smoothing / count * all;
    for (size_t c = 0; c < s.size(); ++c) {
      slope[c] += s[c] == -kInf ? 0 : share * std::exp(s[c] - lse);
    }
    slope[t] -= (1 - smoothing) * weight[t];
    return true;
  };
}

template <class S>
void similarities(Similarity kind, double scale, double offset) {
  Problem p(35, 67, 6, false, offset);
  p.similarity = kind;
  p.scale = scale;
  Run<InfoNce, S>(std::string("info_nce ") + name_of(kind) + " " + std::to_string(scale), p,
                  info_nce(0, false), {0, 0}, {})
      .check(true);
}

template <class S>
void options(double smoothing, bool decoupled, Similarity kind) {
  Problem p(21, 45, 5, false);
  p.similarity = kind;
  p.margin = 0.25;
  p.scale = 1.5;
  p.give_ids();
  p.give_bias();
  p.give_negatives(7);
  Run<InfoNce, S> run(std::string("info_nce with all ") + name_of(kind), p,
                      info_nce(smoothing, decoupled), {smoothing, decoupled ? 1.0 : 0.0}, {});
  run.check(true);
  run.check(false);  // nothing is summed up along the rows
}

template <class S>
void classes(double smoothing) {
  Problem p(33, 129, 4, false);
  p.give_bias();
  for (double& b : p.bias) b = b == -kInf ? 0.5 : b;
  for (int64_t i = 4; i < p.n; i += 10) p.target[i] = device::kIgnoredRow, p.factor[i] = 0;
  std::vector<double> weight;
  for (int64_t j = 0; j < p.m; ++j) weight.push_back(j % 9 == 3 ? 0 : 0.25 * (1 + j % 5));
  Run<LinearCrossEntropy, S>("linear_cross_entropy", p, linear_cross_entropy(smoothing, weight),
                             {smoothing}, {}, weight)
      .check(true);
}

// Sizes at which a tile, a warp or a block of rows ends, workspaces that cut the matrix.
template <class S>
void shapes() {
  const auto run = [](int64_t n, int64_t m, int64_t workspace, const Cost& cost) {
    Problem p(n, m, 3, false);
    p.similarity = Similarity::kCosine;
    p.scale = 4;
    p.workspace = workspace;
    Run<InfoNce, S>("info_nce " + std::to_string(n) + " x " + std::to_string(m), p,
                    info_nce(0, false), {0, 0}, cost)
        .check(false);
  };
  run(1, 1, 1 << 22, {});
  run(127, 129, 1 << 22, {});
  run(129, 127, 1 << 22, {});
  run(5, 1031, 1 << 22, {});  // a block a row
  run(1, 9001, 1 << 22, {});  // rows in parts
  if constexpr (!kForRaces) {
    run(300, 520, 300 * 1024 * static_cast<int64_t>(sizeof(typename Run<InfoNce, S>::T)) / 2, {});
    run(150, 2100, 1 << 18, {.gradient = 4});  // too few complete rows: columns are cut
  }
}

template <class S>
void hard_values() {
  {
    Problem p(9, 40, 4, false);  // all scores far below 0
    for (double& x : p.query) x = 1 + std::abs(x);
    for (double& x : p.key) x = -30 - std::abs(x);
    Run<InfoNce, S>("all negative", p, info_nce(0, false), {0, 0}, {}).check(true);
  }
  {
    Problem p(9, 40, 4, false);
    p.query[2 * p.d + 1] = std::nan("");
    Run<InfoNce, S>("a row of NaN", p, info_nce(0, false), {0, 0}, {}).check(false);
  }
  {
    Problem p(6, 11, 3, false);  // whole rows masked
    p.bias.assign(11, -kInf);
    Run<InfoNce, S>("all masked", p, info_nce(0, false), {0, 0}, {}).check(true);
  }
  if constexpr (!std::is_same_v<S, Float16>) {
    Problem p(7, 19, 4, false);  // lengths whose products leave the range
    p.similarity = Similarity::kCosine;
    const double far = std::is_same_v<S, double> ? 1e200 : 1e30;
    for (int64_t i = 0; i < p.n * p.d; ++i) p.query[i] *= i / p.d % 2 ? far : 1 / far;
    for (int64_t i = 0; i < p.m * p.d; ++i) p.key[i] *= i / p.d % 3 ? far : 1;
    Run<InfoNce, S>("extreme lengths", p, info_nce(0, false), {0, 0}, {}).check(false);
  }
  {
    Problem p(13, 17, 3, false);  // factors far from 1, as of a scaled gradient
    for (double& f : p.factor) f *= 3e-7;
    Run<InfoNce, S>("small factors", p, info_nce(0, false), {0, 0}, {}).check(false);
  }
  {
    Problem p(10, 20, 4, false);
    p.target.assign(10, -1);
    Run<PairwiseLogSumExp, S>("pairwise_logsumexp", p, logsumexp(), {}, {}).check(true);
  }
}

template <class S>
void all() {
  for (const Similarity kind : kSimilarities) {
    similarities<S>(kind, 1, 0);
    if (kind == Similarity::kCosine || kind == Similarity::kEuclidean) {
      similarities<S>(kind, 200, 0);
    }
    similarities<S>(kind, 0.1, is_distance(kind) ? 100 : 0);
    options<S>(0, false, kind);
  }
  options<S>(0.1, false, Similarity::kDot);
  options<S>(0, true, Similarity::kCosine);
  classes<S>(0);
  classes<S>(0.2);
  if constexpr (!kForRaces) hard_values<S>();
}

}  // namespace

int main() {
  return report_of([] {
    if constexpr (kSanitized) {
      options<float>(0, false, Similarity::kDot);
      options<Float16>(0, false, Similarity::kDot);  // whose unit is looked for
    } else {
      all<float>();
      all<double>();
      all<Float16>();
      shapes<float>();
    }
    all<BFloat16>();
    shapes<BFloat16>();
  });
}
