// The engine's contract, seen by a functor that records: every candidate of a row reaches the row's
// state once, from the row's side or from the column's, and every derivative is taken a gradient
// pass; a row never meets itself; half the products; memory stays within the workspace.
#include <algorithm>
#include <vector>

#include "check.h"
#include "engines/self_cpu.h"
#include "host_plain.h"

using namespace fastloss;

namespace {

// Visits of row i's candidates, i · (n + k) + j.
std::vector<int> pushed, differentiated;
std::vector<double> finished;  // target scores
int64_t candidates = 0, longest_span = 0;
const double* coordinate = nullptr;  // of the candidates; d = 1
constexpr double kMasked = -math::kInfinity<double>;

bool distances = false;  // squared, else products

double score(double x, double y) { return distances ? -(x - y) * (x - y) : x * y; }

void record(std::vector<int>& seen, int64_t row, int64_t column, double s) {
  if (s == kMasked) return;
  CHECK_CLOSE(s, score(coordinate[row], coordinate[column]), 1e-13);
  ++seen[row * candidates + column];
}

template <bool kPairs>
struct Recorder {
  using Value = double;
  struct State {
    double count = 0;
    void merge(const State& other) { count += other.count; }
  };
  struct Row {
    double value, kept, dtarget;
    bool counts() const { return true; }
  };
  static constexpr bool kPaired = kPairs;

  static State push(const double* s, int64_t row, int64_t column, int64_t count) {
    longest_span = std::max(longest_span, count);
    State state;
    for (int64_t j = 0; j < count; ++j) {
      record(pushed, row, column + j, s[j]);
      state.count += s[j] != kMasked;
    }
    return state;
  }
  static void push_columns(const double* tile, int64_t stride, int64_t rows, int64_t cols,
                           int64_t row, int64_t column, State* states) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < cols; ++j) {
        record(pushed, column + j, row + r, tile[r * stride + j]);
        states[j].count += tile[r * stride + j] != kMasked;
      }
    }
  }
  static Row finish(const State& state, double target) {
    finished.push_back(target);
    return {0, state.count, 100};
  }
  static void dscores(const double* s, int64_t row, int64_t column, int64_t count, const Row&,
                      double factor, double* out) {
    for (int64_t j = 0; j < count; ++j) {
      record(differentiated, row, column + j, s[j]);
      out[j] = s[j] == kMasked ? 0 : factor;
    }
  }
  static void add_columns(const double* s, int64_t row, int64_t column, int64_t count,
                          const double* fields, int64_t stride, const double* factor, double* out) {
    for (int64_t j = 0; j < count; ++j) {
      CHECK(fields[2 * stride + j] == 100);  // Row::dtarget
      record(differentiated, column + j, row, s[j]);
      out[j] += s[j] == kMasked ? 0 : factor[j];
    }
  }
};

// ∂L_i/∂s is 1 + i/8 for a candidate and 100 times that for the target, half of it in all.
struct RowGrad {
  double operator()(int64_t i) const { return 1 + static_cast<double>(i) / 8; }
  template <class Row>
  double overall(const Row*) const {
    return 0.5;
  }
};

template <bool kPairs>
void run(int64_t n, int64_t k, bool itself, int64_t workspace, double most_products,
         bool with_distances = false) {
  const int64_t all = n + k;
  distances = with_distances;
  candidates = all;
  std::vector<double> x(all);
  for (int64_t i = 0; i < all; ++i) x[i] = std::sin(1 + std::sqrt(2.0) * static_cast<double>(i));
  coordinate = x.data();
  SelfInput<double, double> in{};
  in.n = n, in.k = k, in.d = 1, in.rows = x.data(), in.others = x.data() + n;
  in.itself = itself;
  in.similarity = distances ? Similarity::kSquaredEuclidean : Similarity::kDot;
  in.scale = 1, in.workspace = workspace;

  const auto partner = [&](int64_t i) { return kPairs ? (i + n / 2) % n : -1; };
  const auto kept = [&](int64_t i, int64_t j) {
    return j >= n || (itself && i != j && j != partner(i));
  };
  const RowGrad row_grad;
  std::vector<double> expected(all, 0.0), count(n, 0.0);
  double expected_scale = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < all; ++j) {
      const bool target = j == partner(i);
      if (!target && !kept(i, j)) continue;
      count[i] += !target;
      const double w = row_grad(i) * (target ? 100 : 1) / 2;
      expected[i] += w * (distances ? 2 * (x[j] - x[i]) : x[j]);
      expected[j] += w * (distances ? 2 * (x[i] - x[j]) : x[i]);
      expected_scale += w * score(x[i], x[j]);
    }
  }

  using Engine = SelfCpu<Recorder<kPairs>, double>;
  std::vector<typename Recorder<kPairs>::Row> rows(n);
  std::vector<double> gradient(all);
  double scale = 0;
  const SelfGradients<double> gradients{gradient.data(), gradient.data() + n, &scale};
  for (const int pass : {0, 1, 2}) {  // forward, forward and gradient, backward
    for (auto* seen : {&pushed, &differentiated}) seen->assign(n * all, 0);
    finished.clear();
    std::fill(gradient.begin(), gradient.end(), std::nan(""));
    host::bytes_peak = host::bytes_live;
    host::adds = 0;
    Engine engine(in, {});
    // Not accumulated into: what was there before, and what an earlier pass left.
    if (pass == 0) engine.forward(rows.data());
    if (pass == 1) engine.forward_gradient(rows.data(), row_grad, gradients);
    if (pass == 2) {
      engine.forward(rows.data());
      for (auto* seen : {&pushed, &differentiated}) seen->assign(n * all, 0);
      engine.backward(rows.data(), row_grad, gradients);
    }
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < all; ++j) {
        wrong += pushed[i * all + j] != (kept(i, j) && pass < 2);
        // A block of rows against itself holds both orders of a pair, each with both derivatives.
        const bool twice = j < n && i / 128 == j / 128 && differentiated[i * all + j] == 2;
        wrong += differentiated[i * all + j] != (kept(i, j) && pass > 0) * (1 + twice);
      }
      CHECK(rows[i].kept == count[i]);
      if (kPairs) CHECK_CLOSE(finished[i], score(x[i], x[partner(i)]), 1e-13);
    }
    CHECK(wrong == 0);
    CHECK(longest_span <= 256);
    if (pass > 0) {
      for (int64_t j = 0; j < all; ++j) CHECK_CLOSE(gradient[j], expected[j], 1e-11);
      CHECK_CLOSE(scale, expected_scale, 1e-11);
    }
    // One product of all candidates.
    const double product = static_cast<double>(n * ((itself ? n : 0) + k));
    if (pass == 1) CHECK(static_cast<double>(host::adds) <= most_products * product);
    if (pass == 0 && itself && k == 0 && n >= 512) {
      CHECK(static_cast<double>(host::adds) < 0.65 * product);
    }
    CHECK(host::bytes_peak <= std::max<int64_t>(workspace, 400000) + 200 * all);
  }
  CHECK(host::bytes_live == 0);
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    host::thread_count = threads;
    run<true>(2, 0, true, 1 << 26, 9);
    run<true>(2, 1, true, 1 << 26, 9);
    run<true>(254, 0, true, 1 << 26, 9);
    run<true>(258, 129, true, 1 << 26, 9);
    run<true>(1200, 0, true, 1 << 26, 1.75);  // all tiles are kept
    run<true>(1200, 0, true, 1 << 21, 2.3);   // some are
    run<true>(1500, 700, true, 1 << 21, 9);
    run<false>(1, 0, true, 1 << 26, 9);
    run<false>(127, 0, true, 1 << 26, 9);
    run<false>(700, 300, true, 1 << 20, 9);
    run<false>(130, 600, false, 1 << 26, 3.3);
    run<false>(700, 600, false, 1 << 20, 3.3);  // in chunks
    run<false>(90, 2300, false, 1 << 19, 4.2);  // scores are recomputed
    run<false>(3, 5000, false, 1 << 26, 9);
    run<false>(5, 0, false, 1 << 26, 9);
    run<true>(258, 129, true, 1 << 26, 9, true);
    run<true>(1500, 700, true, 1 << 21, 9, true);
    run<false>(5, 3, false, 1 << 26, 9, true);
    run<false>(700, 600, false, 1 << 20, 3.3, true);
  }
  return test::report();
}
