// The contrastive loss of all pairs on the device, against its definition: one pass, every pair
// once.
#include "losses/pairwise_contrastive_loss.h"
#include "self_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

constexpr double kMargin = 1.25, kScale = 0.5;

// The value of a pair at distance d, and its derivative; NaN of NaN.
template <class T>
void pair(NegativeTerm term, T d, bool same, T& value, T& slope) {
  const T m = kMargin, c = kScale;
  value = c * d * d, slope = 2 * c * d;
  if (term == NegativeTerm::kAsPublished) {
    if (!same) return;
    value = d <= m ? 0 : c * (d * d - m * m);
    slope = d <= m ? 0 : slope;
  } else if (term == NegativeTerm::kLinear) {
    value = same ? c * d : d >= m ? 0 : c * (m - d);
    slope = same ? c : d >= m ? 0 : -c;
  } else if (!same && term == NegativeTerm::kMarginMinusDistanceSquared) {
    value = d >= m ? 0 : c * (m - d) * (m - d);
    slope = d >= m ? 0 : -2 * c * (m - d);
  } else if (!same) {
    value = d >= m ? 0 : c * (m * m - d * d);
    slope = d >= m ? 0 : -2 * c * d;
  }
}

template <class T, NegativeTerm kTerm, int kOrigin>
Rule<T> rule(const Set& set) {
  return [&set](int64_t i, const std::vector<T>& s, T& value, std::vector<T>& slope) {
    for (int64_t j = i + 1; j < set.all(); ++j) {
      if (!set.is_candidate(i, j)) continue;
      T of_pair, derivative;
      pair(kTerm, static_cast<T>(kOrigin) - s[j], set.label[i] == set.label[j], of_pair,
           derivative);
      value += of_pair;
      slope[j] = -derivative;
    }
    return true;
  };
}

template <NegativeTerm kTerm, int kOrigin>
Subject<PairwiseContrastiveLoss> subject() {
  return {"pairwise_contrastive",
          {kMargin, kScale, static_cast<double>(kTerm), kOrigin},
          rule<long double, kTerm, kOrigin>,
          rule<double, kTerm, kOrigin>,
          rule<float, kTerm, kOrigin>};
}

}  // namespace

int main() {
  return report_of([] {
    const auto usual = subject<NegativeTerm::kMarginMinusDistanceSquared, 0>();
    const auto published = subject<NegativeTerm::kAsPublished, 1>();
    run_all<PairwiseContrastiveLoss, float>(usual, false);
    run_all<PairwiseContrastiveLoss, BFloat16>(usual, false);
    // Alone in having rows that are widened.
    run<PairwiseContrastiveLoss, Float16>(
        usual, random_set(67, 70, false, Similarity::kCosine, 0.1), 1 << 26, 1);
    if constexpr (!kSanitized) {
      run_all<PairwiseContrastiveLoss, double>(published, false);
      run_all<PairwiseContrastiveLoss, Float16>(published, false);
      run_all<PairwiseContrastiveLoss, Float16>(
          subject<NegativeTerm::kMarginSquaredMinusDistanceSquared, 0>(), false);
      run_all<PairwiseContrastiveLoss, float>(subject<NegativeTerm::kLinear, 0>(), false);
      run_products(usual, true);
      run<PairwiseContrastiveLoss, float>(
          usual, random_set(150, 2000, false, Similarity::kCosine, 1, 0, 2), 1 << 20, 1, {1, 3.01});
    }
  });
}
