// The engine's contract, seen by a functor that records: every pair of kept items once, masked
// items never, whatever the lists' shape; reductions by hand; NaN keeps to its list; memory
// O(list).
#include <vector>

#include "check.h"
#include "engines/listwise_cpu.h"
#include "host_plain.h"
#include "losses/listnet_loss.h"
#include "losses/pairwise_hinge_loss.h"
#include "losses/ranknet_loss.h"

using namespace fastloss;

namespace {

const double nan = std::nan("");

// The sum of pairs' differences tells which pairs they were; their sum of 1, how many.
struct Recorder {
  using Value = double;
  static constexpr bool kLogistic = false;
  bool counts = false;
  PairRules rules{.method = PairMethod::kPairs};

  PairTerm<double> pair(double t) const { return {counts ? 1 : t, 1}; }
  PairTerm<double> tie(double t) const { return {counts ? 1 : std::abs(t), 0}; }
  SweepForm sweep() const { return {}; }
};

struct Lists {
  std::vector<double> score, label, weight;
  std::vector<char> where;
  std::vector<int64_t> offsets;
  std::vector<double> list_weight;
  int64_t lists = 0, length = 0;

  ListwiseInput<double, double> input() const {
    return {.lists = lists,
            .length = length,
            .offsets = offsets.empty() ? nullptr : offsets.data(),
            .score = score.data(),
            .label = label.data(),
            .where = where.empty() ? nullptr : reinterpret_cast<const bool*>(where.data()),
            .weight = weight.empty() ? nullptr : weight.data(),
            .list_weight = list_weight.empty() ? nullptr : list_weight.data()};
  }
};

struct Outcome {
  std::vector<double> loss, gradient;
};

template <class Loss>
Outcome run(const Lists& lists, const Loss& loss, ListReduction reduction) {
  Outcome out;
  out.loss.assign(reduction == ListReduction::kNone ? lists.lists : 1, -1);
  out.gradient.assign(lists.score.size(), 0);
  ListwiseCpu<Loss, double> engine(lists.input(), loss, reduction);
  const auto invalid = engine.run(out.loss.data(), out.gradient.data());
  CHECK(invalid.label == -1 && invalid.weight == -1);
  return out;
}

void test_pairs() {
  // Two lists of four with holes; what is masked is NaN or negative.
  Lists padded;
  padded.lists = 2, padded.length = 4;
  padded.score = {1, nan, 2, 4, 8, 16, nan, 32};
  padded.label = {1, 9, 0, 1, 3, -5, nan, 2};
  padded.where = {1, 0, 1, 1, 1, 0, 0, 1};
  const Outcome all = run(padded, Recorder{}, ListReduction::kNone);
  // (label 1: 1, 4) against (label 0: 2); (label 3: 8) against (label 2: 32)
  CHECK(all.loss[0] == (1 - 2) + (4 - 2) && all.loss[1] == 8 - 32);
  const std::vector<double> gradient = {1, 0, -2, 1, 1, 0, 0, -1};
  CHECK(all.gradient == gradient);

  Lists ragged;
  ragged.lists = 4;
  ragged.score = {1, 2, 4, 8, 32};
  ragged.label = {1, 0, 1, 3, 2};
  ragged.offsets = {0, 3, 3, 5, 5};  // with empty lists
  const Outcome same = run(ragged, Recorder{}, ListReduction::kNone);
  const std::vector<double> loss = {(1 - 2) + (4 - 2), 0, 8 - 32, 0};
  CHECK(same.loss == loss);

  Recorder ties;
  ties.rules.ties_half = true;
  CHECK(run(ragged, ties, ListReduction::kNone).loss[0] == (1 - 2) + (4 - 2) + (4 - 1));
}

void test_each_pair_once() {
  for (const int64_t n : {1, 2, 31, 33, 257, 600}) {
    for (const int grades : {1, 3, 600}) {
      Recorder recorder;
      recorder.counts = true;
      recorder.rules.ties_half = true;
      Lists lists;
      lists.lists = 1, lists.length = n;
      for (int64_t i = 0; i < n; ++i) {
        lists.score.push_back(static_cast<double>(i));
        lists.label.push_back(static_cast<double>(i * 7 % n % grades));
      }
      const double pairs = static_cast<double>(n * (n - 1) / 2);
      const Outcome out = run(lists, recorder, ListReduction::kNone);
      CHECK(out.loss[0] == pairs);
    }
  }
}

void test_reductions() {
  // Lists of 2, 0 and 1 pairs, values 3, 0, 5 (hinge, margin 1).
  Lists lists;
  lists.lists = 3;
  lists.offsets = {0, 3, 4, 6};
  lists.score = {0, 1, 0, 7, 0, 4};
  lists.label = {1, 0, 0, 2, 1, 0};
  lists.list_weight = {2, 5, 3};
  const PairwiseHingeLoss<double> hinge(PairwiseHingeOptions{});
  using R = ListReduction;
  CHECK(run(lists, hinge, R::kSum).loss[0] == 2 * 3 + 3 * 5);
  CHECK_CLOSE(run(lists, hinge, R::kMean).loss[0], (2 * 3 + 3 * 5) / (2 * 2 + 3 * 1.0), 1e-15);
  CHECK_CLOSE(run(lists, hinge, R::kMeanList).loss[0], (2 * 3 / 2.0 + 3 * 5) / (2 + 3.0), 1e-15);
  const std::vector<double> none = {2 * 3, 0, 3 * 5};
  CHECK(run(lists, hinge, R::kNone).loss == none);
  CHECK_CLOSE(run(lists, hinge, R::kMean).gradient[5], 3 / 7.0, 1e-15);
  CHECK_CLOSE(run(lists, hinge, R::kMeanList).gradient[0], -2 * 2 / 2.0 / 5, 1e-15);
  // A pair has the weight of its higher-labelled item and counts with it.
  lists.weight = {4, 9, 9, 9, 0.5, 9};
  CHECK_CLOSE(run(lists, hinge, R::kMean).loss[0],
              (2 * 4 * 3 + 3 * 0.5 * 5) / (2 * 4 * 2 + 3 * 0.5), 1e-15);
  lists.list_weight = {0, 0, 0};
  CHECK(run(lists, hinge, R::kMean).loss[0] == 0);
  CHECK(run(lists, hinge, R::kMeanList).gradient[5] == 0);
}

void test_nan() {
  Lists lists;
  lists.lists = 3, lists.length = 2;
  lists.score = {0, 1, nan, 1, 2, 3};
  lists.label = {1, 0, 1, 1, 0, 1};  // the middle list has no pair
  const PairwiseHingeLoss<double> hinge(PairwiseHingeOptions{});
  const Outcome none = run(lists, hinge, ListReduction::kNone);
  CHECK(none.loss[0] == 2 && std::isnan(none.loss[1]) && none.loss[2] == 0);
  CHECK(std::isnan(none.gradient[2]) && std::isnan(none.gradient[3]));
  CHECK(none.gradient[0] == -1 && none.gradient[4] == 0);
  for (const auto reduction : {ListReduction::kMean, ListReduction::kMeanList}) {
    const Outcome mean = run(lists, hinge, reduction);
    CHECK(std::isnan(mean.loss[0]) && mean.gradient[0] == -0.5 && std::isnan(mean.gradient[2]));
  }
  lists.score[2] = 0;
  lists.label[3] = nan;
  CHECK(std::isnan(run(lists, hinge, ListReduction::kSum).loss[0]));
  lists.list_weight = {1, 0, 1};  // no part of the batch
  CHECK(run(lists, hinge, ListReduction::kSum).loss[0] == 2);
}

void test_invalid() {
  Lists lists;
  lists.lists = 2, lists.length = 2;
  lists.score = {0, 0, 0, 0};
  lists.label = {0, 1, 1, -1};
  lists.weight = {0, -2, 1, 1};
  double loss = 0;
  ListwiseCpu<PairwiseHingeLoss<double>, double> engine(
      lists.input(), PairwiseHingeLoss<double>(PairwiseHingeOptions{}), ListReduction::kMean);
  const auto invalid = engine.run(&loss, nullptr);
  CHECK(invalid.label == 3 && invalid.weight == 1);
}

// Infinite scores: as the sum over pairs has it, sorted or not.
void test_infinities() {
  const double inf = math::kInfinity<double>;
  for (const auto method : {PairMethod::kPairs, PairMethod::kSorted}) {
    const RankNetLoss<double> loss(RankNetOptions{.rules = {.method = method}});
    Lists lists;
    lists.lists = 3, lists.length = 2;
    lists.label = {1, 0, 1, 0, 1, 0};
    lists.score = {inf, 0, -inf, 0, inf, inf};
    const Outcome out = run(lists, loss, ListReduction::kNone);
    CHECK(out.loss[0] == 0 && out.loss[1] == inf && std::isnan(out.loss[2]));
    CHECK(out.gradient[0] == 0 && out.gradient[2] == -1 && out.gradient[3] == 1);
  }
}

// Neither slots nor the order of tasks show in the bits; memory grows with the list.
void test_long_list() {
  for (const auto method : {PairMethod::kPairs, PairMethod::kSorted}) {
    std::vector<Outcome> outcomes;
    for (const int64_t threads : {1, 3}) {
      for (const bool forwards : {false, true}) {
        host::thread_count = threads;
        host::forwards = forwards;
        Lists lists;
        lists.lists = 1, lists.length = method == PairMethod::kPairs ? 5000 : 40000;
        for (int64_t i = 0; i < lists.length; ++i) {
          lists.score.push_back(std::sin(static_cast<double>(i * i)));
          lists.label.push_back(static_cast<double>(i * 7919 % 13));
        }
        host::bytes_peak = host::bytes_live;
        const int64_t before = host::bytes_live;
        outcomes.push_back(run(lists,
                               RankNetLoss<double>(RankNetOptions{.rules = {true, false, method}}),
                               ListReduction::kMean));
        CHECK(host::bytes_peak - before <= 400 * lists.length);
      }
    }
    for (const Outcome& other : outcomes) {
      CHECK(other.loss == outcomes[0].loss && other.gradient == outcomes[0].gradient);
    }
  }
  host::thread_count = 1;
  host::forwards = false;
}

}  // namespace

int main() {
  test_pairs();
  test_each_pair_once();
  test_reductions();
  test_nan();
  test_invalid();
  test_infinities();
  test_long_list();
  return test::report();
}
