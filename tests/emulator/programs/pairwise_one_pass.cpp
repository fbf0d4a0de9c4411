// Losses without a normaliser on the device, against their definitions.
#include "pairwise_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double sigmoid(double x) {
  return x > 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
}

Definition siglip(double bias) {
  return [=](const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
             double& value, std::vector<double>& slope) {
    for (size_t j = 0; j < s.size(); ++j) {
      if (!allowed[j]) continue;
      const double sign = static_cast<int64_t>(j) == t ? -1 : 1;
      value += softplus(sign * (s[j] + bias));
      slope[j] = sign * sigmoid(sign * (s[j] + bias));
    }
    return true;
  };
}

Definition in_batch(const std::function<double(double)>& loss,
                    const std::function<double(double)>& derivative) {
  return [=](const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
             double& value, std::vector<double>& slope) {
    for (size_t j = 0; j < s.size(); ++j) {
      if (!allowed[j] || static_cast<int64_t>(j) == t) continue;
      value += loss(s[j] - s[t]);
      slope[j] = derivative(s[j] - s[t]);
      slope[t] -= slope[j];
    }
    return true;
  };
}

Definition bpr() { return in_batch(softplus, sigmoid); }
Definition hinge(double margin) {
  return in_batch([=](double g) { return std::fmax(0.0, margin + g); },
                  [=](double g) { return margin + g > 0 ? 1.0 : 0.0; });
}

Problem problem(int64_t n, int64_t m, bool diagonal, Similarity kind, double scale,
                double offset = 0) {
  Problem p(n, m, 4, diagonal, offset);
  p.similarity = kind;
  p.scale = scale;
  return p;
}

template <class S>
void all() {
  for (const Similarity kind : kSimilarities) {
    Problem p = problem(31, 69, false, kind, 1.5);
    for (int64_t i = 0; i < p.n; i += 4) p.target[i] = -1;
    p.give_ids();
    Run<SigLipLoss, S>(std::string("siglip_loss ") + name_of(kind), p, siglip(-2), {-2}, {})
        .check(true);
    p = problem(31, 69, true, kind, 1.5, is_distance(kind) ? 100 : 0);
    Run<InBatchBprLoss, S>(std::string("in_batch_bpr_loss ") + name_of(kind), p, bpr(), {}, {})
        .check(true);
    p = problem(31, 45, true, kind, 0.75);
    p.give_ids();
    Run<InBatchHingeLoss, S>(std::string("in_batch_hinge_loss ") + name_of(kind), p, hinge(0.7),
                             {0.7}, {})
        .check(true);
  }
  Problem empty = problem(2, 0, true, Similarity::kCosine, 1);
  empty.target.assign(2, -1);
  Run<SigLipLoss, S>("siglip_loss without keys", empty, siglip(-2), {-2}, {}).check(true);
  Problem p = problem(140, 1100, true, Similarity::kEuclidean, 1);
  p.workspace = 1 << 18;  // rows and columns are cut
  Run<InBatchBprLoss, S>("in_batch_bpr_loss cut", p, bpr(), {}, {}).check(true);
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
