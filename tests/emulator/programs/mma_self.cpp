// States of one set against itself, and of the others beside it, by the tensor-core kernels: every
// loss and stored type against float64. Each score is made once and serves both of its rows.
//
// quick: plain
#include <algorithm>

#include "losses/batch_hard_triplet_loss.h"
#include "losses/registry.h"
#include "mma_cases.h"

namespace {

using namespace fastloss;
using namespace fastloss::mma_test;
using emulator::PlainRuntime;
using emulator::Uploaded;

struct Case {
  int64_t n, k, d;
  Similarity similarity = Similarity::kCosine;
  double scale = 1, mean = 0;
  bool itself = true;
  int64_t duplicates = 0;  // pairs of equal rows
  int64_t nan_row = -1;
  bool whole = false;  // small whole numbers: all products exact, many equal
  int64_t bytes = int64_t{1} << 30;
};

template <template <class> class Loss>
constexpr bool kIsBatchHard = std::is_same_v<Loss<float>, BatchHardTripletLoss<float>>;

template <template <class> class Loss, class T>
Loss<T> make(const int32_t* label) {
  // Margin, scale, term, origin: cosines' distances are 1 − s.
  const double options[8] = {0.9, 1.0, 0.0, 1.0};
  if constexpr (kIsBatchHard<Loss>) {
    return {label};
  } else {
    const double nt_xent[8] = {};
    return Loss<T>::make(Loss<T>::kPaired ? nt_xent : options, label);
  }
}

template <template <class> class Loss, class S>
void check(const char* loss_name, const char* type, const Case& c) {
  using State = typename Loss<float>::State;
  using Row = typename Loss<float>::Row;
  constexpr bool kColumns = !kIsOfPairs<Loss<float>>;
  const std::string name = std::string(loss_name) + " " + type + " " + std::to_string(c.n) + " + " +
                           std::to_string(c.k) + " x " + std::to_string(c.d) + " similarity " +
                           std::to_string(static_cast<int>(c.similarity));
  Random random(c.n * 7919 + c.k * 31 + c.d);
  Side<S> rows = random_side<S>(c.n, c.d, c.mean, c.similarity, random);
  Side<S> others = random_side<S>(c.k, c.d, -c.mean, c.similarity, random);
  for (Side<S>* const side : {&rows, &others}) {
    for (int64_t i = 0; i < side->count && c.whole; ++i) {
      for (int64_t f = 0; f < c.d; ++f) {
        side->at(i, f) = stored<S>(static_cast<double>(random() % 5) - 2);
      }
    }
  }
  for (int64_t i = 0; i + 1 < c.n && i < 2 * c.duplicates; i += 2) {
    for (int64_t f = 0; f < c.d; ++f) rows.at(i, f) = rows.at(i + 1, f);
  }
  if (c.nan_row >= 0) rows.at(c.nan_row, 0) = stored<S>(NAN);
  const int64_t candidates = c.n + c.k;
  std::vector<int32_t> label(candidates);
  for (int32_t& l : label) l = static_cast<int32_t>(random() % (c.n / 3 + 2));
  std::vector<int32_t> padded(label);
  padded.resize(candidates + device::kSelfPad, -1);

  const ScoreMatrix own = score_matrix(rows, rows, c.similarity, c.scale);
  const ScoreMatrix beside = score_matrix(rows, others, c.similarity, c.scale);
  const int64_t half = Loss<float>::kPaired && c.itself ? c.n / 2 : 0;
  const auto partner = [&](int64_t i) { return half == 0 ? -1 : i < half ? i + half : i - half; };
  const auto wide = make<Loss, double>(label.data());
  const auto reference = [&](int64_t i) {
    std::vector<double> span;
    for (int64_t j = 0; j < candidates; ++j) {
      const bool masked = j < c.n && (!c.itself || j == i || j == partner(i));
      span.push_back(masked ? -INFINITY : j < c.n ? own.at(i, j) : beside.at(i, j - c.n));
    }
    const double target = half > 0 ? own.at(i, partner(i)) : -INFINITY;
    typename Loss<double>::State state;
    const int64_t from = c.itself ? 0 : c.n;
    state.merge(wide.push(span.data() + from, i, from, candidates - from));
    return wide.finish(state, target);
  };

  const auto narrow = [&] {
    PlainRuntime runtime;
    const Uploaded<S> x(runtime, rows.values), y(runtime, others.values);
    const Uploaded<float> u(runtime, rows.statistics(c.similarity));
    const Uploaded<float> v(runtime, others.statistics(c.similarity));
    const Uploaded<int32_t> labels(runtime, padded);
    const Uploaded<float> met(runtime, std::vector<float>(c.n, -INFINITY));
    const Uploaded<State> states(runtime, std::vector<State>(c.n));
    const auto loss = make<Loss, float>(labels.data());
    const device::DeviceLoss<Loss<float>> functor{loss};
    const mma::Rows<S> xs{x.data(), c.n, rows.stride}, ys{y.data(), c.k, others.stride};
    const device::Scalar<float> scale{static_cast<float>(c.scale)};
    const bool dot = c.similarity == Similarity::kDot;
    const float* const us = dot ? nullptr : u.data();
    const float* const vs = dot ? nullptr : v.data();
    if (c.itself) {
      mma::add_states<S, Loss<float>, mma::SelfMask, kColumns>(
          runtime, {xs, xs, c.d, c.similarity, scale, us, us, xs, xs}, functor,
          {true, half, met.data(), 0}, true, c.bytes, states.data(), states.data());
    }
    mma::add_states<S, Loss<float>, mma::SelfMask, false>(
        runtime, {xs, ys, c.d, c.similarity, scale, us, vs, xs, ys}, functor,
        {false, 0, nullptr, c.n}, false, c.bytes, states.data(), nullptr);
    const std::vector<State> made = emulator::download(states);
    const std::vector<float> targets = emulator::download(met);
    std::vector<Row> out;
    for (int64_t i = 0; i < c.n; ++i) out.push_back(loss.finish(made[i], targets[i]));
    return out;
  };
  const std::vector<Row> got = narrow();
  const double error = std::max(own.error, beside.error);
  for (int64_t i = 0; i < c.n; ++i) {
    const auto wanted = reference(i);
    if constexpr (kIsBatchHard<Loss>) {
      if (got[i].positive != wanted.positive || got[i].negative != wanted.negative) {
        fail(name + ": row " + std::to_string(i) + " has found others");
      }
    } else if constexpr (kIsOfPairs<Loss<float>>) {
      compare_rows(name, i, got[i], wanted, static_cast<double>(candidates) * 8 * error, 2e-6);
    } else {
      compare_rows(name, i, got[i], wanted, 6 * error, 3e-6 + 6 * error);
    }
  }
}

template <template <class> class Loss, class S>
void check_all(const char* loss, const char* type) {
  const auto run = [&](Case c) {
    if (kIsBatchHard<Loss> && (!c.whole || c.nan_row >= 0)) {
      c.whole = true;
      c.similarity = Similarity::kDot;
      c.nan_row = -1;
    }
    check<Loss, S>(loss, type, c);
  };
  if (kForRaces) return run({.n = 140, .k = 40, .d = 120, .scale = 3});
  // At least four tiles each way, in squares of more than one launch.
  run({.n = 400, .k = 0, .d = 33, .scale = 3, .bytes = 1});
  run({.n = 260, .k = 130, .d = 15, .similarity = Similarity::kDot, .scale = 0.5, .bytes = 20000});
  run({.n = 130, .k = 127, .d = 40, .scale = 200, .duplicates = 9});
  run({.n = 126,
       .k = 5,
       .d = 24,
       .similarity = Similarity::kEuclidean,
       .scale = 2,
       .duplicates = 5});
  run({.n = 34,
       .k = 33,
       .d = 129,
       .similarity = Similarity::kSquaredEuclidean,
       .scale = 0.1,
       .duplicates = 3});
  // All scores negative, a row alone, one pair, no candidates but the others, NaN.
  run({.n = 40, .k = 0, .d = 8, .similarity = Similarity::kSquaredEuclidean, .scale = 20});
  run({.n = 2, .k = 0, .d = 1});
  run({.n = 2, .k = 3, .d = 5, .scale = 1e-3});
  run({.n = 18, .k = 150, .d = 33, .itself = false});
  run({.n = 16, .k = 9, .d = 15, .nan_row = 3});
}

template <template <class> class Loss>
void check_types(const char* loss) {
  check_all<Loss, BFloat16>(loss, "bfloat16");
  if constexpr (!kSanitized) {
    check_all<Loss, float>(loss, "tf32");
    check_all<Loss, Float16>(loss, "float16");
  }
}

}  // namespace

int main() {
  check_types<NtXent>("nt_xent");
  if constexpr (kSanitized) check_all<NtXent, float>("nt_xent", "tf32");
  check_types<SupCon>("sup_con");
  check_types<PairwiseContrastiveLoss>("pairwise_contrastive_loss");
  check_types<BatchHardTripletLoss>("batch_hard_triplet_loss");
  if (failures > 0) std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
