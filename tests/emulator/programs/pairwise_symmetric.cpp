// The symmetric loss of rows and of columns on the device, against its definition.
//
// quick: plain
#include "pairwise_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

// InfoNCE of a row or of a column, the target's share of the sum kept apart.
Definition clip(double smoothing) {
  return [=](const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
             double& value, std::vector<double>& slope) {
    double max = -kInf, sum = 0, mean = 0, count = 0, missing = 0;
    for (size_t j = 0; j < s.size(); ++j) max = allowed[j] ? std::fmax(max, s[j]) : max;
    for (size_t j = 0; j < s.size(); ++j) {
      if (allowed[j]) sum += std::exp(s[j] - max), mean += s[j], count += 1;
    }
    mean /= count;
    const double lse = max + std::log(sum);
    for (size_t j = 0; j < s.size(); ++j) {
      if (!allowed[j] || static_cast<int64_t>(j) == t) continue;
      slope[j] = std::exp(s[j] - lse) - smoothing / count;
      missing += std::exp(s[j] - lse);
    }
    value = lse - (1 - smoothing) * s[t] - smoothing * mean;
    if (smoothing == 0) value = lse - s[t];
    slope[t] = smoothing * (std::exp(s[t] - lse) - 1 / count) - (1 - smoothing) * missing;
    return true;
  };
}

template <class S>
void run(int64_t n, Similarity kind, double scale, double smoothing, bool grouped,
         int64_t workspace, int64_t products, double offset = 0) {
  Problem p(n, n, 4, true, offset);
  p.similarity = kind;
  p.scale = scale;
  p.workspace = workspace;
  if (grouped) p.give_ids();
  Run<ClipLoss, S>("clip_loss " + std::to_string(n) + " " + name_of(kind), p, clip(smoothing),
                   {smoothing}, {.gradient = products})
      .check(true);
}

template <class S>
void all() {
  for (const Similarity kind : kSimilarities) {
    run<S>(37, kind, 2, 0, false, 1 << 22, 3);
    run<S>(37, kind, 0.5, 0.2, true, 1 << 22, 3, is_distance(kind) ? 100 : 0);
  }
  run<S>(1, Similarity::kDot, 1, 0, false, 1 << 22, 3);
  run<S>(130, Similarity::kCosine, 100, 0, true, 130 * 400, 4);  // scores are formed again
}

}  // namespace

int main() {
  return report_of([] {
    if constexpr (!kSanitized) {
      all<float>();
      all<double>();
      all<Float16>();
    }
    all<BFloat16>();
  });
}
