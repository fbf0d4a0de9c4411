// NT-Xent on the device, against its definition; every launch of the engine with a queue and
// without, targets among the tiles on the diagonal and far from it.
#include "losses/nt_xent.h"
#include "self_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

template <class T, bool kDecoupled>
Rule<T> rule(const Set& set) {
  return [&set](int64_t i, const std::vector<T>& s, T& value, std::vector<T>& slope) {
    const int64_t target = (i + set.n / 2) % set.n;
    const auto counts = [&](int64_t j) {
      return set.is_candidate(i, j) && !(kDecoupled && j == target);
    };
    T max = -math::kInfinity<T>, sum = 0;
    for (int64_t j = 0; j < set.all(); ++j) {
      if (counts(j)) max = std::isnan(s[j]) ? s[j] : std::max(max, s[j]);
    }
    for (int64_t j = 0; j < set.all(); ++j) {
      if (counts(j)) sum += std::exp(s[j] - max);
    }
    if (sum == 0) return false;
    value = std::log(sum) + (max - s[target]);
    for (int64_t j = 0; j < set.all(); ++j) {
      slope[j] = (counts(j) ? std::exp(s[j] - max) / sum : 0) - (j == target ? 1 : 0);
    }
    return true;
  };
}

}  // namespace

int main() {
  return report_of([] {
    const Subject<NtXent> coupled{
        "nt_xent", {0}, rule<long double, false>, rule<double, false>, rule<float, false>};
    const Subject<NtXent> decoupled{
        "decoupled", {1}, rule<long double, true>, rule<double, true>, rule<float, true>};
    run_all<NtXent, float>(coupled, true);
    run_all<NtXent, BFloat16>(coupled, true);
    if constexpr (!kSanitized) {
      run_all<NtXent, double>(coupled, true);
      run_all<NtXent, Float16>(coupled, true);
      run_all<NtXent, float>(decoupled, true);
      run_products(coupled, false);
    }
  });
}
