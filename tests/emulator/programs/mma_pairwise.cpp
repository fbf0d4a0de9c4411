// Row and column states of the pairwise losses by the tensor-core kernels, every loss and stored
// type, against float64 on the rows as the tensor cores take them.
#include <algorithm>

#include "losses/registry.h"
#include "mma_cases.h"

namespace {

using namespace fastloss;
using namespace fastloss::mma_test;
using emulator::PlainRuntime;
using emulator::Uploaded;

enum class Targets { kNone, kDiagonal, kRandom };

struct Case {
  int64_t n, m, d;
  Similarity similarity = Similarity::kDot;
  double scale = 1, mean = 0;  // of the queries; the keys' is −mean
  Targets targets = Targets::kRandom;
  bool bias = false, groups = false, weights = false;
  int64_t duplicates = 0;  // keys equal to the query of their number
  int64_t nan_row = -1;
  std::vector<double> options = {};
  int64_t bytes = int64_t{1} << 30;  // for partial states
};

std::string name_of(const char* loss, const char* type, const Case& c) {
  return std::string(loss) + " " + type + " " + std::to_string(c.n) + " x " + std::to_string(c.m) +
         " x " + std::to_string(c.d) + " similarity " +
         std::to_string(static_cast<int>(c.similarity)) + " scale " + std::to_string(c.scale);
}

template <template <class> class Loss, class S>
void check(const char* loss_name, const char* type, const Case& c) {
  using State = typename Loss<float>::State;
  constexpr bool kColumns = requires { &Loss<float>::push_columns; };
  const std::string name = name_of(loss_name, type, c);
  Random random(c.n * 7919 + c.m * 31 + c.d);
  Side<S> query = random_side<S>(c.n, c.d, c.mean, c.similarity, random);
  Side<S> key = random_side<S>(c.m, c.d, -c.mean, c.similarity, random);
  for (int64_t i = 0; i < std::min({c.duplicates, c.n, c.m}); ++i) {
    for (int64_t f = 0; f < c.d; ++f) key.at(i, f) = query.at(i, f);
  }
  if (c.nan_row >= 0) query.at(c.nan_row, c.d - 1) = stored<S>(NAN);

  std::vector<int64_t> target(c.n, -1), group(c.m);
  for (int64_t i = 0; i < c.n && c.targets != Targets::kNone; ++i) {
    target[i] = c.targets == Targets::kDiagonal ? i : static_cast<int64_t>(random() % c.m);
    if (c.targets == Targets::kRandom && i % 7 == 3) target[i] = -1;
  }
  for (int64_t j = 0; j < c.m; ++j) group[j] = static_cast<int64_t>(random() % (c.m / 4 + 1));
  std::vector<float> bias(c.m), weight(c.m);
  std::vector<double> wide_weight(c.m);
  for (int64_t j = 0; j < c.m; ++j) {
    bias[j] = j % 11 == 5 ? -INFINITY : static_cast<float>(random() % 64) / 16 - 2;
    wide_weight[j] = weight[j] = static_cast<float>(random() % 8) / 4;
  }

  // The float64 rows.
  std::vector<double> options = c.options;
  options.resize(8, 0.0);
  const auto wide = Loss<double>::make(options.data(), c.weights ? wide_weight.data() : nullptr);
  const ScoreMatrix z = score_matrix(query, key, c.similarity, c.scale);
  const auto score = [&](int64_t i, int64_t j) {
    return z.at(i, j) + (c.bias ? static_cast<double>(bias[j]) : 0.0);
  };
  const auto masked = [&](int64_t i, int64_t j) {
    const int64_t t = target[i];
    return t >= 0 && (j == t || (c.groups && group[j] == group[t]));
  };
  std::vector<double> target_score(c.n, -INFINITY);
  for (int64_t i = 0; i < c.n; ++i) {
    if (target[i] >= 0) target_score[i] = score(i, target[i]);
  }
  const auto reference = [&](int64_t i, bool of_column) {
    const int64_t count = of_column ? c.n : c.m;
    std::vector<double> span(count), zeros(count, 0.0), dscore(count);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t row = of_column ? j : i, column = of_column ? i : j;
      span[j] = masked(row, column) ? -INFINITY : score(row, column);
    }
    if constexpr (OnePass<Loss<double>>) {
      return wide.finish(wide.slopes(span.data(), count, target_score[i], dscore.data()),
                         target_score[i], target[i]);
    } else {
      return wide.finish(wide.push(span.data(), zeros.data(), 0, count), target_score[i],
                         target[i]);
    }
  };

  // The kernels' rows.
  std::vector<float> narrow_target(c.n);
  for (int64_t i = 0; i < c.n; ++i) narrow_target[i] = static_cast<float>(target_score[i]);
  std::vector<typename Loss<float>::Row> rows, columns;
  {
    PlainRuntime runtime;
    const Uploaded<S> q(runtime, query.values), k(runtime, key.values);
    const Uploaded<float> u(runtime, query.statistics(c.similarity));
    const Uploaded<float> v(runtime, key.statistics(c.similarity));
    const Uploaded<int64_t> targets(runtime, target), groups(runtime, group);
    const Uploaded<float> biases(runtime, bias), weights(runtime, weight);
    const Uploaded<float> scores_of_targets(runtime, narrow_target);
    const device::Buffer<float> met(runtime, c.n);
    const bool dot = c.similarity == Similarity::kDot;
    const mma::Rows<S> queries{q.data(), c.n, query.stride}, keys{k.data(), c.m, key.stride};
    const mma::Products<S> products{queries,
                                    keys,
                                    c.d,
                                    c.similarity,
                                    {static_cast<float>(c.scale)},
                                    dot ? nullptr : u.data(),
                                    dot ? nullptr : v.data(),
                                    queries,
                                    keys};
    const mma::PairwiseMask mask{c.m,
                                 targets.data(),
                                 c.groups ? groups.data() : nullptr,
                                 c.bias ? biases.data() : nullptr,
                                 met.data(),
                                 TargetFirst<Loss<float>> ? scores_of_targets.data() : nullptr};
    const auto loss = Loss<float>::make(options.data(), c.weights ? weights.data() : nullptr);
    const device::DeviceLoss<Loss<float>> functor{loss};
    const Uploaded<State> row_states(runtime, std::vector<State>(c.n));
    const Uploaded<State> column_states(runtime, std::vector<State>(kColumns ? c.m : 0));
    mma::add_states<S, Loss<float>, mma::PairwiseMask, kColumns>(
        runtime, products, functor, mask, false, c.bytes, row_states.data(), column_states.data());
    const auto finished = [&](const Uploaded<State>& states,
                              std::vector<typename Loss<float>::Row>& out) {
      const auto here = Loss<float>::make(options.data(), c.weights ? weight.data() : nullptr);
      const std::vector<State> made = emulator::download(states);
      const std::vector<float> targets = emulator::download(met);
      out.clear();
      for (int64_t i = 0; i < states.size(); ++i) {
        const int64_t t = i < c.n ? target[i] : -1;
        const float s = t < 0 ? -INFINITY : targets[i] + (c.bias ? bias[t] : 0.0f);
        out.push_back(here.finish(made[i], s, t));
      }
    };
    finished(row_states, rows);
    finished(column_states, columns);
  }

  double largest = c.bias ? 2 : 0;
  for (const double value : z.z) {
    if (std::abs(value) > largest) largest = std::abs(value);
  }
  // A sum of losses may be off by all of its terms' errors, its moment by so many times a score.
  const double of_terms = z.error * std::max(1.0, largest) + 0x1p-24 * largest;
  const double absolute = OnePass<Loss<float>> ? static_cast<double>(c.m) * of_terms : 4 * z.error;
  const double relative = 2e-6 + (OnePass<Loss<float>> ? 0 : 4 * z.error);
  for (int64_t i = 0; i < c.n; ++i) {
    compare_rows(name, i, rows[i], reference(i, false), absolute, relative);
  }
  if constexpr (kColumns) {
    for (int64_t j = 0; j < c.m; ++j) {
      compare_rows(name + " columns", j, columns[j], reference(j, true), absolute, relative);
    }
  }
}

template <template <class> class Loss, class S>
void check_all(const char* loss, const char* type, const std::vector<double>& options,
               bool diagonal) {
  const auto run = [&](Case c) {
    if (c.options.empty()) c.options = options;
    if (diagonal) {
      c.targets = Targets::kDiagonal;
      c.m = c.n;
    }
    if (TargetFirst<Loss<float>>) c.targets = Targets::kDiagonal, c.n = std::min(c.n, c.m);
    check<Loss, S>(loss, type, c);
  };
  if (kForRaces) return run({.n = 140, .m = 150, .d = 120, .scale = 0.3, .groups = true});
  // At least four tiles each way, in squares of more than one launch.
  run({.n = 390, .m = 410, .d = 24, .scale = 0.3, .bytes = 1});
  run({.n = 129,
       .m = 127,
       .d = 33,
       .similarity = Similarity::kCosine,
       .scale = 200,
       .groups = true});
  run({.n = 127,
       .m = 129,
       .d = 15,
       .similarity = Similarity::kEuclidean,
       .scale = 2,
       .bias = true,
       .weights = true,
       .duplicates = 9});
  run({.n = 33,
       .m = 200,
       .d = 70,
       .similarity = Similarity::kSquaredEuclidean,
       .scale = 0.1,
       .mean = 1,
       .weights = true,
       .duplicates = 3});
  // All logits negative, tiny and huge temperatures, one feature, one row, one key, NaN.
  run({.n = 40, .m = 60, .d = 129, .scale = 1, .mean = 1});
  run({.n = 40, .m = 60, .d = 8, .scale = 1000, .targets = Targets::kNone});
  run({.n = 20, .m = 21, .d = 1, .scale = 1e-3, .bias = true});
  run({.n = 1, .m = 140, .d = 33, .groups = true});
  run({.n = 3, .m = 1, .d = 5});
  run({.n = 17, .m = 31, .d = 15, .nan_row = 2});
}

template <template <class> class Loss>
void check_types(const char* loss, const std::vector<double>& options = {}, bool diagonal = false) {
  check_all<Loss, BFloat16>(loss, "bfloat16", options, diagonal);
  if constexpr (!kSanitized) {
    check_all<Loss, float>(loss, "tf32", options, diagonal);
    check_all<Loss, Float16>(loss, "float16", options, diagonal);
  }
}

}  // namespace

int main() {
  check_types<InfoNce>("info_nce", {0.0, 0.0});
  if constexpr (kSanitized) check_all<InfoNce, float>("info_nce", "tf32", {0.0, 0.0}, false);
  check_all<InfoNce, BFloat16>("info_nce smoothed", "bfloat16", {0.1, 0.0}, false);
  check_types<ClipLoss>("clip_loss", {0.1}, true);
  check_types<LinearCrossEntropy>("linear_cross_entropy", {0.1});
  check_types<PairwiseLogSumExp>("pairwise_logsumexp");
  check_types<SigLipLoss>("siglip_loss", {-1.5});
  check_types<InBatchBprLoss>("in_batch_bpr_loss");
  check_types<InBatchHingeLoss>("in_batch_hinge_loss", {0.5});
  if (failures > 0) std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
