// Sorted sweeps against the pairs one by one, in double: few grades and many, ties, weights, label
// differences, scales, offsets; both methods agree in float too, and no order depends on threads.
#include <random>
#include <vector>

#include "check.h"
#include "engines/pair_list.h"
#include "host_plain.h"
#include "losses/pairwise_hinge_loss.h"
#include "losses/ranknet_loss.h"

using namespace fastloss;

namespace {

struct List {
  std::vector<double> score, label, weight;
};

struct Result {
  double value = 0, count = 0;
  std::vector<double> gradient;
};

// The definition, pair by pair.
template <class Loss>
Result definition(const Loss& loss, const List& list) {
  const size_t n = list.score.size();
  long double value = 0, count = 0;
  std::vector<long double> gradient(n, 0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      const double difference = list.label[i] - list.label[j];
      const bool tie = difference == 0 && j < i && loss.rules.ties_half;
      if (!(difference > 0) && !tie) continue;
      const double weight = tie ? (list.weight[i] + list.weight[j]) / 2 : list.weight[i];
      const double factor = loss.rules.label_diff ? weight * difference : weight;
      const double t = list.score[i] - list.score[j];
      const auto term = tie ? loss.tie(t) : loss.pair(t);
      count += weight;
      value += factor * term.value;
      gradient[i] += factor * term.derivative;
      gradient[j] -= factor * term.derivative;
    }
  }
  return {static_cast<double>(value), static_cast<double>(count),
          std::vector<double>(gradient.begin(), gradient.end())};
}

template <template <class> class Loss, class T, class Options>
Result run(Options options, PairMethod method, const List& list, bool weighted) {
  options.rules.method = method;
  const std::vector<T> score(list.score.begin(), list.score.end());
  const std::vector<T> label(list.label.begin(), list.label.end());
  const std::vector<T> weight(list.weight.begin(), list.weight.end());
  const auto n = static_cast<int64_t>(score.size());
  Result out;
  out.gradient.assign(score.size(), -1);
  T max_score = -math::kInfinity<T>, max_label = max_score;
  for (const T s : score) max_score = std::max(max_score, s);
  for (const T y : label) max_label = std::max(max_label, y);
  const PairList<Loss<T>> pairs(
      Loss<T>(options),
      {n, score.data(), label.data(), weighted ? weight.data() : nullptr, max_score, max_label});
  const ListTotal total = pairs.total(out.gradient.data());
  out.value = total.value;
  out.count = total.count;
  const double alone = pairs.total(nullptr).value;
  CHECK(std::abs(alone - total.value) <= (sizeof(T) == 4 ? 1e-6 : 1e-14) * total.value);
  return out;
}

void compare(const Result& got, const Result& expected, double tolerance) {
  double largest = 1e-300;
  for (const double g : expected.gradient) largest = std::max(largest, std::abs(g));
  CHECK(std::abs(got.value - expected.value) <= tolerance * std::abs(expected.value));
  CHECK_CLOSE(got.count, expected.count, 1e-13);
  for (size_t i = 0; i < got.gradient.size(); ++i) {
    if (std::abs(got.gradient[i] - expected.gradient[i]) <= tolerance * largest) continue;
    CHECK_CLOSE(got.gradient[i] / largest, expected.gradient[i] / largest, 0);
    break;
  }
}

template <template <class> class Loss, class Options>
void check_all(const Options& options, const List& list, bool weighted) {
  List used = list;
  if (!weighted) used.weight.assign(list.weight.size(), 1);
  const Result expected = definition(Loss<double>(options), used);
  for (const PairMethod method : {PairMethod::kPairs, PairMethod::kSorted, PairMethod::kAuto}) {
    compare(run<Loss, double>(options, method, used, weighted), expected, 1e-13);
    compare(run<Loss, float>(options, method, used, weighted), expected, 1e-6);
  }
}

// Values that float holds exactly, so that float and double see the same list.
List random_list(std::mt19937& random, size_t n, int grades, double scale, double offset,
                 bool lattice) {
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform;
  List list;
  for (size_t i = 0; i < n; ++i) {
    const double score = scale * normal(random);
    list.score.push_back(
        static_cast<float>(offset + (lattice ? std::round(score * 4) / 4 : score)));
    list.label.push_back(grades > 0 ? static_cast<double>(random() % grades)
                                    : static_cast<double>(5 * uniform(random)));
    list.weight.push_back(uniform(random));
  }
  return list;
}

void check_losses(const List& list) {
  for (const bool weighted : {false, true}) {
    for (const bool label_diff : {false, true}) {
      for (const bool ties : {false, true}) {
        check_all<RankNetLoss>(
            RankNetOptions{.sigma = 1.5, .scale = 1.25, .rules = {ties, label_diff}}, list,
            weighted);
      }
      for (const int power : {1, 2}) {
        check_all<PairwiseHingeLoss>(
            PairwiseHingeOptions{.margin = 0.25, .power = power, .rules = {false, label_diff}},
            list, weighted);
      }
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(3);
  for (const size_t n : {1, 2, 17, 63, 300, 900}) {
    for (const int grades : {1, 2, 5, 37, 0}) {
      const double scale = n % 2 ? 10 : 1;
      check_losses(random_list(random, n, grades, scale, 0, false));
      check_losses(random_list(random, n, grades, 1, n == 300 ? 1000 : 0, true));
    }
  }
  check_losses(random_list(random, 700, 5, 0.1, 0, false));
  check_losses(random_list(random, 700, 5, 10, 0, false));
  check_losses(random_list(random, 700, 2, 1e4, 0, false));
  List tied = random_list(random, 600, 3, 1, 0, false);
  tied.score.assign(600, 0.5);
  check_losses(tied);
  return test::report();
}
