// Chunks of coefficients w by the tensor-core kernels, and the sums beside them: every rule and
// stored type against float64.
#include "cuda/mma_coefficients.cuh"

#include <algorithm>
#include <bit>

#include "losses/registry.h"
#include "mma_cases.h"

namespace {

using namespace fastloss;
using namespace fastloss::mma_test;
using emulator::PlainRuntime;
using emulator::Uploaded;

struct Case {
  int64_t n, m, d;
  Similarity similarity = Similarity::kDot;
  double scale = 1, mean = 0;
  bool bias = false, groups = false, weights = false;
  int64_t chunk_rows = 1 << 20, chunk_cols = 1 << 20;  // chunks of all rows and columns
  int64_t duplicates = 0;
};

constexpr float kMargin = 0.125f;

template <class Loss>
constexpr bool kSymmetric = requires { &Loss::push_columns; };

template <class Loss, class T>
struct RuleOf {
  using type = std::conditional_t<
      OnePass<Loss>, device::OnePassRule<Loss>,
      std::conditional_t<kSymmetric<Loss>, device::SymmetricRule<Loss>, device::RowRule<Loss>>>;
};

template <class To, class From>
To narrow_row(const From& from) {
  constexpr int kFields = sizeof(To) / sizeof(float);
  static_assert(sizeof(From) == kFields * sizeof(double));
  double wide[kFields];
  float narrow[kFields];
  std::memcpy(wide, &from, sizeof from);
  for (int f = 0; f < kFields; ++f) narrow[f] = static_cast<float>(wide[f]);
  To to;
  std::memcpy(&to, narrow, sizeof narrow);
  return to;
}

template <template <class> class Loss, class S>
class Check {
 public:
  using Wide = Loss<double>;
  using Narrow = Loss<float>;
  using Rule = typename RuleOf<Narrow, float>::type;
  using Sums = device::RowSums<typename Narrow::State, float>;
  // 16-bit products take 16-bit coefficients, but for distances.
  static constexpr bool kShort = sizeof(S) == 2;

  Check(const char* loss, const char* type, const Case& of, const std::vector<double>& options)
      : c(of),
        name(std::string(loss) + " " + type + " " + std::to_string(c.n) + " x " +
             std::to_string(c.m) + " x " + std::to_string(c.d) + " similarity " +
             std::to_string(static_cast<int>(c.similarity))),
        random(c.n * 7919 + c.m * 31 + c.d),
        query(random_side<S>(c.n, c.d, c.mean, c.similarity, random)),
        key(random_side<S>(c.m, c.d, -c.mean, c.similarity, random)),
        options(options) {
    this->options.resize(8, 0.0);
    for (int64_t i = 0; i < std::min({c.duplicates, c.n, c.m}); ++i) {
      for (int64_t f = 0; f < c.d; ++f) key.at(i, f) = query.at(i, f);
    }
    const bool diagonal = kSymmetric<Narrow> || TargetFirst<Narrow>;
    for (int64_t i = 0; i < c.n; ++i) {
      target.push_back(diagonal ? i : static_cast<int64_t>(random() % c.m));
      if (!diagonal && i % 9 == 4) target[i] = device::kIgnoredRow;
      factor.push_back(static_cast<float>(random() % 16) / 16 + 0.25f);
    }
    for (int64_t j = 0; j < c.m; ++j) {
      group.push_back(static_cast<int64_t>(random() % (c.m / 4 + 1)));
      bias.push_back(j % 11 == 5 ? -INFINITY : static_cast<float>(random() % 64) / 16 - 2);
      weight.push_back(static_cast<float>(random() % 8) / 4);
    }
    wide_weight.assign(weight.begin(), weight.end());
    wide = Wide::make(this->options.data(), c.weights ? wide_weight.data() : nullptr);
    z = score_matrix(query, key, c.similarity, c.scale);
    expect();
    if (kShort && !is_distance(c.similarity)) {
      compare<S>();
    } else {
      compare<float>();
    }
  }

 private:
  double bias_of(int64_t j) const { return c.bias ? static_cast<double>(bias[j]) : 0.0; }
  bool masked(int64_t i, int64_t j) const {
    const int64_t t = target[i];
    return t >= 0 && (j == t || (c.groups && group[j] == group[t]));
  }
  double target_score(int64_t i) const {
    return z.at(i, target[i]) - c.scale * kMargin + bias_of(target[i]);
  }
  std::vector<double> span(int64_t i, bool with_bias) const {
    std::vector<double> out;
    for (int64_t j = 0; j < c.m; ++j) {
      out.push_back(masked(i, j) ? -INFINITY : z.at(i, j) + (with_bias ? bias_of(j) : 0));
    }
    return out;
  }

  // w, rows and sums in float64.
  void expect() {
    const std::vector<double> zeros(std::max(c.n, c.m), 0.0);
    const std::vector<float> u = query.statistics(c.similarity), v = key.statistics(c.similarity);
    const auto row_of = [&](const std::vector<double>& scores, int64_t i) {
      const int64_t count = static_cast<int64_t>(scores.size());
      const bool has = target[i] >= 0;
      if constexpr (OnePass<Wide>) {
        std::vector<double> slopes(scores.size());
        return wide.finish(
            wide.slopes(scores.data(), count, has ? target_score(i) : 0, slopes.data()),
            has ? target_score(i) : -INFINITY, has ? target[i] : -1);
      } else {
        return wide.finish(wide.push(scores.data(), zeros.data(), 0, count),
                           has ? target_score(i) : -INFINITY,
                           has ? target[i] : (kSymmetric<Wide> ? -1 : 0));
      }
    };
    for (int64_t i = 0; i < c.n; ++i) {
      // A functor without a normaliser has its own bias; the others' spans have the keys'.
      rows.push_back(row_of(span(i, !OnePass<Wide>), i));
      if constexpr (kSymmetric<Wide>) {
        std::vector<double> column;
        for (int64_t r = 0; r < c.n; ++r) {
          column.push_back(masked(r, i) ? -INFINITY : z.at(r, i));
        }
        cols.push_back(row_of(column, i));
      }
    }
    w.assign(c.n * c.m, 0);
    moment.assign(c.n, 0);
    row_weight.assign(c.n, 0);
    size.assign(c.n, 0);
    column_bias.assign(c.m, 0);
    column_weight.assign(c.m, 0);
    for (int64_t i = 0; i < c.n; ++i) {
      if (target[i] == device::kIgnoredRow) continue;
      std::vector<double> scores = span(i, false), biases(c.m), dscore(c.m);
      for (int64_t j = 0; j < c.m; ++j) biases[j] = bias_of(j);
      if constexpr (OnePass<Wide>) {
        wide.slopes(scores.data(), c.m, target_score(i), dscore.data());
        for (double& value : dscore) value *= factor[i];
      } else {
        wide.dscores(scores.data(), biases.data(), 0, c.m, rows[i], factor[i], dscore.data());
      }
      if constexpr (kSymmetric<Wide>) {
        for (int64_t j = 0; j < c.m; ++j) {
          std::vector<double> fields(sizeof(cols[j]) / sizeof(double));
          std::memcpy(fields.data(), &cols[j], sizeof cols[j]);
          const double of_column = factor[j];
          wide.add_columns(&scores[j], fields.data(), 1, &of_column, 1, &dscore[j]);
        }
      }
      for (int64_t j = 0; j < c.m; ++j) {
        if (scores[j] != -INFINITY) moment[i] += dscore[j] * scores[j];
        if (j == target[i]) {
          double own = rows[i].dtarget;
          if constexpr (kSymmetric<Wide>) own += cols[i].dtarget;
          dscore[j] = TargetFirst<Wide> ? 0 : factor[i] * own;
          scores[j] = z.at(i, j);
          moment[i] += dscore[j] * (scores[j] - c.scale * kMargin);
        }
        const double both = static_cast<double>(u[i]) * v[j];
        const double value = coefficient(c.similarity, c.scale, scores[j], both, dscore[j]);
        w[i * c.m + j] = value;
        row_weight[i] += value;
        column_weight[j] += value;
        column_bias[j] += dscore[j];
        if (scores[j] != -INFINITY) size[i] += std::abs(dscore[j]) * (1 + std::abs(scores[j]));
      }
    }
  }

  template <class W>
  std::vector<W> run(float unit, std::vector<Sums>& of_rows,
                     std::vector<device::ColumnSums<float>>& of_columns) {
    PlainRuntime runtime;
    const Uploaded<S> q(runtime, query.values), k(runtime, key.values);
    const Uploaded<float> u(runtime, query.statistics(c.similarity));
    const Uploaded<float> v(runtime, key.statistics(c.similarity));
    const Uploaded<int64_t> targets(runtime, target), groups(runtime, group);
    const Uploaded<float> biases(runtime, bias), weights(runtime, weight), factors(runtime, factor);
    std::vector<float> met;
    for (int64_t i = 0; i < c.n; ++i) {
      met.push_back(target[i] < 0 ? 0 : static_cast<float>(target_score(i)));
    }
    const Uploaded<float> scores_of_targets(runtime, met);
    std::vector<typename Narrow::Row> narrow_rows, narrow_cols;
    for (const auto& row : rows) narrow_rows.push_back(narrow_row<typename Narrow::Row>(row));
    for (const auto& col : cols) narrow_cols.push_back(narrow_row<typename Narrow::Row>(col));
    const Uploaded<typename Narrow::Row> rows_there(runtime, narrow_rows);
    const Uploaded<typename Narrow::Row> cols_there(runtime, narrow_cols);
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
                                 nullptr,
                                 nullptr};
    const device::DeviceLoss<Narrow> loss{
        Narrow::make(options.data(), c.weights ? weights.data() : nullptr)};
    const int64_t padded = device::padded(c.m);
    std::vector<float> fields;
    if constexpr (kSymmetric<Narrow>) {
      fields.assign((Rule::kFields + 1) * padded, 0.0f);
      for (int64_t j = 0; j < c.m; ++j) {
        float values[Rule::kFields];
        std::memcpy(values, &narrow_cols[j], sizeof values);
        for (int64_t f = 0; f < Rule::kFields; ++f) fields[f * padded + j] = values[f];
        fields[Rule::kFields * padded + j] = factor[j];
      }
    }
    const Uploaded<float> fields_there(runtime, fields);
    const Rule rule = [&]() -> Rule {
      if constexpr (OnePass<Narrow>) {
        return {loss, factors.data(), scores_of_targets.data()};
      } else if constexpr (kSymmetric<Narrow>) {
        return {loss,           rows_there.data(),   cols_there.data(),
                factors.data(), fields_there.data(), padded};
      } else {
        return {loss, rows_there.data(), factors.data()};
      }
    }();
    const device::Buffer<Sums> sums(runtime, c.n);
    const device::Buffer<device::ColumnSums<float>> column_sums(runtime, c.m);
    std::vector<W> out(c.n * c.m);
    for (int64_t col = 0; col < c.m; col += c.chunk_cols) {
      for (int64_t row = 0; row < c.n; row += c.chunk_rows) {
        const int64_t height = std::min(c.chunk_rows, c.n - row);
        const int64_t width = std::min(c.chunk_cols, c.m - col), stride = device::padded(width);
        const device::Buffer<W> chunk(runtime, height * stride);
        mma::fill_coefficients<S, W, Rule>(
            runtime, products, {chunk.data(), stride, row, height, col, width}, rule, mask, kMargin,
            {unit}, true, sums.data(), column_sums.data());
        const std::vector<W> made = emulator::download(chunk);
        for (int64_t r = 0; r < height; ++r) {
          for (int64_t j = 0; j < width; ++j) {
            out[(row + r) * c.m + col + j] = made[r * stride + j];
          }
        }
      }
    }
    of_rows = emulator::download(sums);
    of_columns = emulator::download(column_sums);
    return out;
  }

  template <class W>
  void compare() {
    constexpr bool kRounds = sizeof(W) == 2;
    const float unit = std::is_same_v<W, Float16> ? 16384.0f : 1.0f;
    const double step = std::is_same_v<W, BFloat16> ? 0x1p-8 : kRounds ? 0x1p-11 : 0;
    std::vector<Sums> sums;
    std::vector<device::ColumnSums<float>> columns;
    const std::vector<W> got = run<W>(unit, sums, columns);
    const std::vector<float> u = query.statistics(c.similarity), v = key.statistics(c.similarity);
    // A probability is as wrong, relatively, as its score; a derivative near 0 as its parts are.
    const double slack = 4 * z.error + 4e-6;
    double largest = 0;
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t j = 0; j < c.m; ++j) {
        const double wanted = w[i * c.m + j];
        double unit_size =
            coefficient(c.similarity, c.scale, z.at(i, j), static_cast<double>(u[i]) * v[j], 1.0);
        unit_size = std::abs(unit_size);
        // 2⁻²⁴ is float16's smallest number.
        const double allowed = (slack + step) * std::abs(wanted) + slack * 0.01 * unit_size +
                               (kRounds ? 0x1p-25 / unit : 0) + kink(i, j, unit_size);
        largest = std::max(largest, unit_size);
        const double value = static_cast<double>(got[i * c.m + j]) / unit;
        if (!close(value, wanted, allowed)) {
          fail(name + ": w of " + std::to_string(i) + ", " + std::to_string(j) + " is " +
               std::to_string(value) + ", not " + std::to_string(wanted));
        }
      }
    }
    const bool root = c.similarity == Similarity::kEuclidean;
    const double many = slack * 0.05 * static_cast<double>(c.m + c.n);
    for (int64_t i = 0; i < c.n; ++i) {
      if (target[i] == device::kIgnoredRow) continue;
      if (!OnePass<Narrow> &&
          !close(sums[i].moment, moment[i], slack * (size[i] + 0.1) + many * c.scale)) {
        fail(name + ": moment of row " + std::to_string(i) + " is " +
             std::to_string(sums[i].moment) + ", not " + std::to_string(moment[i]));
      }
      if (!close(sums[i].weight, row_weight[i], (slack * size[i] + many) * (largest + 1))) {
        fail(name + ": weight of row " + std::to_string(i));
      }
    }
    for (int64_t j = 0; j < c.m; ++j) {
      const double allowed = many + slack * static_cast<double>(c.n);
      if (!root && !close(columns[j].bias, column_bias[j], allowed)) {
        fail(name + ": bias of column " + std::to_string(j) + " is " +
             std::to_string(columns[j].bias) + ", not " + std::to_string(column_bias[j]));
      }
      if (is_distance(c.similarity) &&
          !close(columns[j].weight, column_weight[j], allowed * (largest + 1))) {
        fail(name + ": weight of column " + std::to_string(j));
      }
    }
  }

  // The hinge's derivative is one or the other where the margin is met up to rounding.
  double kink(int64_t i, int64_t j, double unit_size) const {
    if constexpr (std::is_same_v<Narrow, InBatchHingeLoss<float>>) {
      if (target[i] < 0 || j == target[i]) return 0;
      const double gap = options[0] + z.at(i, j) - target_score(i);
      return std::abs(gap) < 4 * z.error + 1e-6 ? 2 * unit_size : 0;
    }
    return 0;
  }

  Case c;
  std::string name;
  Random random;
  Side<S> query, key;
  std::vector<double> options;
  std::vector<int64_t> target, group;
  std::vector<float> factor, bias, weight;
  std::vector<double> wide_weight;
  Wide wide;
  ScoreMatrix z;
  std::vector<typename Wide::Row> rows, cols;
  std::vector<double> w, moment, row_weight, size, column_bias, column_weight;
};

template <template <class> class Loss, class S>
void check_all(const char* loss, const char* type, const std::vector<double>& options) {
  const auto run = [&](Case c) {
    if (kSymmetric<Loss<float>>) {
      c.m = c.n;
      c.bias = false;
    }
    if (OnePass<Loss<float>>) c.bias = false;
    if (TargetFirst<Loss<float>>) c.n = std::min(c.n, c.m);
    Check<Loss, S>(loss, type, c, options);
  };
  if (kForRaces) return run({.n = 140, .m = 150, .d = 120, .scale = 0.3, .bias = true});
  // At least four tiles each way; chunks of some rows and columns.
  run({.n = 390, .m = 410, .d = 24, .scale = 0.3, .bias = true});
  run({.n = 210,
       .m = 290,
       .d = 15,
       .scale = 0.4,
       .groups = true,
       .chunk_rows = 160,
       .chunk_cols = 136});
  run({.n = 129,
       .m = 127,
       .d = 33,
       .similarity = Similarity::kCosine,
       .scale = 20,
       .groups = true,
       .weights = true});
  run({.n = 60,
       .m = 129,
       .d = 15,
       .similarity = Similarity::kEuclidean,
       .scale = 2,
       .weights = true,
       .duplicates = 9});
  run({.n = 33,
       .m = 200,
       .d = 70,
       .similarity = Similarity::kSquaredEuclidean,
       .scale = 0.1,
       .bias = true,
       .weights = true,
       .duplicates = 3});
  run({.n = 20, .m = 60, .d = 129, .scale = 1, .mean = 1});
  run({.n = 20, .m = 21, .d = 1, .scale = 1e-3});
  run({.n = 1, .m = 1, .d = 8});
}

template <template <class> class Loss>
void check_types(const char* loss, const std::vector<double>& options = {}) {
  check_all<Loss, BFloat16>(loss, "bfloat16", options);
  if constexpr (!kSanitized) {
    check_all<Loss, float>(loss, "tf32", options);
    check_all<Loss, Float16>(loss, "float16", options);
  }
}

}  // namespace

int main() {
  check_types<InfoNce>("info_nce", {0.1, 0.0});
  if constexpr (kSanitized) check_all<InfoNce, float>("info_nce", "tf32", {0.1, 0.0});
  check_types<ClipLoss>("clip_loss", {0.1});
  check_types<LinearCrossEntropy>("linear_cross_entropy", {0.1});
  check_types<PairwiseLogSumExp>("pairwise_logsumexp");
  check_types<SigLipLoss>("siglip_loss", {-1.5});
  check_types<InBatchBprLoss>("in_batch_bpr_loss");
  check_types<InBatchHingeLoss>("in_batch_hinge_loss", {0.5});
  if (failures > 0) std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
