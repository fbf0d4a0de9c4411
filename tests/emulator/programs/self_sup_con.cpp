// SupCon on the device, against its definition.
//
// quick: plain
#include "losses/sup_con.h"
#include "self_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

template <class T>
Rule<T> rule(const Set& set) {
  return [&set](int64_t i, const std::vector<T>& s, T& value, std::vector<T>& slope) {
    T max = -math::kInfinity<T>, sum = 0, count = 0, mean = 0;
    for (int64_t j = 0; j < set.all(); ++j) {
      if (set.is_candidate(i, j)) max = std::max(max, s[j]);
      if (set.is_candidate(i, j) && std::isnan(s[j])) max = s[j];
    }
    for (int64_t j = 0; j < set.all(); ++j) {
      if (!set.is_candidate(i, j)) continue;
      sum += std::exp(s[j] - max);
      if (set.label[j] == set.label[i]) count += 1, mean += max - s[j];
    }
    if (count == 0) return false;
    value = std::log(sum) + mean / count;
    for (int64_t j = 0; j < set.all(); ++j) {
      if (!set.is_candidate(i, j)) continue;
      slope[j] = std::exp(s[j] - max) / sum - (set.label[j] == set.label[i] ? 1 / count : 0);
    }
    return true;
  };
}

const Subject<SupCon> kSupCon{"sup_con", {}, rule<long double>, rule<double>, rule<float>};

}  // namespace

int main() {
  return report_of([] {
    run_all<SupCon, float>(kSupCon, false);
    run_all<SupCon, BFloat16>(kSupCon, false);
    if constexpr (!kSanitized) {
      run_all<SupCon, double>(kSupCon, false);
      run_all<SupCon, Float16>(kSupCon, false);
      run_products(kSupCon, false);
      // Rows that are complete block by block, or not.
      run<SupCon, float>(kSupCon, random_set(300, 700, false, Similarity::kCosine, 2, 0, 2),
                         1 << 21, 1, {1, 3.01});
      run<SupCon, float>(kSupCon, random_set(150, 2000, false, Similarity::kCosine, 2, 0, 2),
                         1 << 20, 1, {1, 4.01});
    }
  });
}
