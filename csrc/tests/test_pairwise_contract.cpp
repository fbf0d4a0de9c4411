// The engine's contract, seen by a functor that records: every kept pair reaches push once a
// forward pass and dscore (or weigh) once a gradient pass, masked pairs never, spans are short,
// and memory stays within the workspace.
#include <algorithm>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "core/lse.h"
#include "engines/pairwise_cpu.h"
#include "host_plain.h"

using namespace fastloss;

namespace {

// d = 1 and irrational steps make every score unique, so that a score tells its pair. Counts of
// visits are kept a pair, i · m + j.
std::vector<int> pushed, weighed, differentiated, finished;
int64_t longest_span = 0;
std::unordered_map<double, size_t> pair_of;

size_t pair(double score) {
  const auto found = pair_of.find(score);
  CHECK(found != pair_of.end());
  return found == pair_of.end() ? 0 : found->second;
}

struct Recorder {
  using Value = double;
  struct State {
    double count = 0;
    void merge(const State& other) { count += other.count; }
  };
  struct Row {
    double value, kept, target, dtarget;
    bool counts() const { return true; }
  };
  bool can_weigh;

  static State record(std::vector<int>& seen, const double* z, const double* bias, int64_t count) {
    longest_span = std::max(longest_span, count);
    State state;
    for (int64_t j = 0; j < count; ++j) {
      if (z[j] == -math::kInfinity<double>) continue;
      ++seen[pair(z[j] + bias[j])];
      state.count += 1;
    }
    return state;
  }
  State push(const double* z, const double* bias, int64_t, int64_t count) const {
    return record(pushed, z, bias, count);
  }
  bool weighs() const { return can_weigh; }
  State weigh(double* z, const double* bias, const double* factor, int64_t count) const {
    const State state = record(weighed, z, bias, count);
    for (int64_t j = 0; j < count; ++j) {
      z[j] = z[j] == -math::kInfinity<double> ? 0 : factor[j];
    }
    return state;
  }
  static double weigh_factor(const State&, const Row&) { return 1; }
  static Row finish(const State& state, double target, int64_t = 0) {
    ++finished[pair(target)];
    return {0, state.count, target, 100};
  }
  static void dscores(const double* z, const double* bias, int64_t, int64_t count, const Row&,
                      double factor, double* out) {
    for (int64_t j = 0; j < count; ++j) {
      out[j] = z[j] == -math::kInfinity<double> ? 0 : factor;
      if (out[j] != 0) ++differentiated[pair(z[j] + bias[j])];
    }
  }
};

// Both directions: a column's state counts what its rows show it.
struct SymmetricRecorder : Recorder {
  void push_columns(const double* tile, int64_t stride, int64_t rows, int64_t cols,
                    State* states) const {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < cols; ++j) {
        if (tile[r * stride + j] != -math::kInfinity<double>) states[j].count += 1;
      }
    }
  }
  static void add_columns(const double* score, const double* fields, int64_t stride,
                          const double* factor, int64_t count, double* out) {
    for (int64_t j = 0; j < count; ++j) {
      CHECK(fields[3 * stride + j] == 100);  // Row::dtarget of column j
      out[j] += score[j] == -math::kInfinity<double> ? 0 : 10 * factor[j];
    }
  }
};

struct Problem {
  int64_t n, m;
  std::vector<double> query, key, bias;
  std::vector<int64_t> target, order, begin, end, ids;

  Problem(int64_t n_, int64_t m_, bool grouped) : n(n_), m(m_) {
    for (int64_t i = 0; i < n; ++i) query.push_back(1 + std::sqrt(2.0) * static_cast<double>(i));
    for (int64_t j = 0; j < m; ++j) key.push_back(1 + std::sqrt(3.0) * static_cast<double>(j));
    for (int64_t j = 0; j < m; ++j) bias.push_back(j % 3 ? 0.0 : 0.125);
    for (int64_t i = 0; i < n; ++i) target.push_back((7 * i + 3) % m);
    for (int64_t j = 0; j < m; ++j) ids.push_back(grouped ? j % 11 : j);
    for (int64_t j = 0; j < m; ++j) order.push_back(j);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return ids[a] < ids[b]; });
    begin.resize(m), end.resize(m);
    for (int64_t a = 0, b = 0; a < m; a = b) {
      while (b < m && ids[order[b]] == ids[order[a]]) ++b;
      for (int64_t k = a; k < b; ++k) begin[order[k]] = a, end[order[k]] = b;
    }
    pair_of.clear();
    pair_of.reserve(n * m);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < m; ++j) pair_of[query[i] * key[j] + bias[j]] = i * m + j;
    }
    CHECK(static_cast<int64_t>(pair_of.size()) == n * m);
  }

  bool kept(int64_t i, int64_t j) const { return ids[j] != ids[target[i]]; }
};

void expect(const Problem& p, const std::vector<int>& seen, int times) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < p.n; ++i) {
    for (int64_t j = 0; j < p.m; ++j) {
      if (seen[i * p.m + j] != (p.kept(i, j) ? times : 0)) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

void run(int64_t n, int64_t m, bool grouped, bool can_weigh, int64_t workspace) {
  const Problem p(n, m, grouped);
  PairwiseInput<double, double> in{};
  in.n = n, in.m = m, in.d = 1;
  in.query = p.query.data(), in.key = p.key.data(), in.key_bias = p.bias.data();
  in.target = p.target.data();
  if (grouped) in.groups = {p.order.data(), p.begin.data(), p.end.data()};
  in.similarity = Similarity::kDot;
  in.scale = 1;
  in.workspace = workspace;
  const auto reset = [=] {
    for (auto* seen : {&pushed, &weighed, &differentiated, &finished}) seen->assign(n * m, 0);
    longest_span = 0;
    host::bytes_peak = host::bytes_live;
  };
  std::vector<Recorder::Row> rows(n);
  struct {
    double operator()(int64_t) const { return 1; }
    double overall(const Recorder::Row*) const { return 0.5; }
  } one;
  const auto check_rows = [&] {
    CHECK(std::count(finished.begin(), finished.end(), 0) == n * m - n);
    for (int64_t i = 0; i < n; ++i) {
      CHECK(finished[i * m + p.target[i]] == 1);
      int64_t kept = 0;
      for (int64_t j = 0; j < m; ++j) kept += p.kept(i, j);
      CHECK(rows[i].kept == static_cast<double>(kept));
    }
    CHECK(longest_span <= kMaxTileCols);
  };

  reset();
  PairwiseCpu<Recorder, double>(in, {can_weigh}).forward(rows.data());
  expect(p, pushed, 1);
  expect(p, differentiated, 0);
  check_rows();

  // dS is 1 for kept pairs, 100 for the target, and half of that in all: gradients by hand.
  std::vector<double> grad_query(n), grad_key(m), grad_bias(m, 0.0);
  const auto check_gradients = [&](bool with_bias) {
    for (int64_t i = 0; i < n; ++i) {
      double expected = 100 * p.key[p.target[i]];
      for (int64_t j = 0; j < m; ++j) expected += p.kept(i, j) ? p.key[j] : 0;
      CHECK_CLOSE(grad_query[i], expected / 2, 1e-12);
    }
    std::vector<double> key(m, 0.0), bias(m, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < m; ++j) {
        const double dscore = j == p.target[i] ? 100 : p.kept(i, j) ? 1 : 0;
        key[j] += dscore * p.query[i];
        bias[j] += dscore;
      }
    }
    for (int64_t j = 0; j < m; ++j) CHECK_CLOSE(grad_key[j], key[j] / 2, 1e-12);
    for (int64_t j = 0; with_bias && j < m; ++j) CHECK_CLOSE(grad_bias[j], bias[j] / 2, 1e-12);
  };

  for (const bool with_bias : {false, true}) {
    reset();
    std::fill(grad_bias.begin(), grad_bias.end(), 0.0);
    PairwiseGradients<double> gradients{grad_query.data(), grad_key.data(),
                                        with_bias ? grad_bias.data() : nullptr, nullptr, nullptr};
    PairwiseCpu<Recorder, double> engine(in, {can_weigh});
    engine.forward_gradient(rows.data(), one, gradients);
    check_rows();
    check_gradients(with_bias);
    // A small workspace may force the scores to be computed twice, without the short cut.
    const bool short_cut = std::count(weighed.begin(), weighed.end(), 0) < n * m;
    CHECK(!short_cut || (can_weigh && !with_bias));
    CHECK(short_cut || !can_weigh || with_bias || workspace < (1 << 26) || n * m == 1);
    expect(p, weighed, short_cut ? 1 : 0);
    expect(p, pushed, short_cut ? 0 : 1);
    expect(p, differentiated, short_cut ? 0 : 1);
    // The key gradient's accumulator and O(n + m) numbers stand beside the workspace.
    CHECK(host::bytes_peak <= std::max<int64_t>(workspace, 400000) + (m + 256) * 8 + 64 * (n + m));
  }

  reset();
  PairwiseGradients<double> gradients{grad_query.data(), grad_key.data(), nullptr, nullptr,
                                      nullptr};
  PairwiseCpu<Recorder, double>(in, {can_weigh}).backward(rows.data(), one, gradients);
  expect(p, pushed, 0);
  expect(p, differentiated, 1);
  check_gradients(false);
  CHECK(host::bytes_live == 0);
}

// dS is 1 from the row and 10 from the column of every kept pair, 200 for the targets.
void run_symmetric(int64_t n, bool grouped, int64_t workspace) {
  Problem p(n, n, grouped);
  std::fill(p.bias.begin(), p.bias.end(), 0.0);
  pair_of.clear();
  for (int64_t i = 0; i < n; ++i) {
    p.target[i] = i;
    for (int64_t j = 0; j < n; ++j) pair_of[p.query[i] * p.key[j]] = i * n + j;
  }
  PairwiseInput<double, double> in{};
  in.n = in.m = n, in.d = 1;
  in.query = p.query.data(), in.key = p.key.data(), in.target = p.target.data();
  if (grouped) in.groups = {p.order.data(), p.begin.data(), p.end.data()};
  in.similarity = Similarity::kDot;
  in.scale = 1;
  in.workspace = workspace;
  struct {
    double operator()(int64_t) const { return 1; }
    double overall(const Recorder::Row*) const { return 0.5; }
  } one;
  std::vector<double> expected_query(n), expected_key(n), kept_row(n, 0.0), kept_col(n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const double dscore = i == j ? 200 : p.kept(i, j) ? 11 : 0;
      expected_query[i] += dscore * p.key[j] / 2;
      expected_key[j] += dscore * p.query[i] / 2;
      kept_row[i] += p.kept(i, j);
      kept_col[j] += p.kept(i, j);
    }
  }

  std::vector<double> grad_query(n), grad_key(n);
  const PairwiseGradients<double> gradients{grad_query.data(), grad_key.data(), nullptr, nullptr,
                                            nullptr};
  std::vector<Recorder::Row> rows(n), cols(n);
  using Engine = PairwiseCpu<SymmetricRecorder, double>;
  for (const int pass : {0, 1, 2}) {  // forward, forward and gradient, backward
    for (auto* seen : {&pushed, &weighed, &differentiated, &finished}) seen->assign(n * n, 0);
    host::bytes_peak = host::bytes_live;
    Engine engine(in, {});
    if (pass == 0) engine.symmetric_forward(rows.data(), cols.data());
    if (pass == 1) engine.symmetric_forward_gradient(rows.data(), cols.data(), one, gradients);
    if (pass == 2) engine.symmetric_backward(rows.data(), cols.data(), one, gradients);
    expect(p, pushed, pass < 2);
    expect(p, differentiated, pass > 0);
    for (int64_t i = 0; i < n; ++i) {
      CHECK(rows[i].kept == kept_row[i] && cols[i].kept == kept_col[i]);
      CHECK(finished[i * n + i] == (pass < 2 ? 2 : 0));
      if (pass == 0) continue;
      CHECK_CLOSE(grad_query[i], expected_query[i], 1e-12);
      CHECK_CLOSE(grad_key[i], expected_key[i], 1e-12);
    }
    // Beside the workspace: numbers of rows and columns, and a state a column and run of rows.
    CHECK(host::bytes_peak <= std::max<int64_t>(workspace, 400000) + 400 * n);
  }
  CHECK(host::bytes_live == 0);
}

}  // namespace

int main() {
  for (const bool grouped : {false, true}) {
    host::thread_count = 1;
    run_symmetric(1, grouped, 1 << 26);
    run_symmetric(130, grouped, 1 << 26);
    host::thread_count = 3;
    run_symmetric(300, grouped, 1 << 26);  // the scores are kept
    run_symmetric(600, grouped, 1 << 19);  // the scores are formed again
  }
  for (const bool grouped : {false, true}) {
    for (const bool can_weigh : {false, true}) {
      host::thread_count = 1;
      run(1, 1, grouped, can_weigh, 1 << 26);
      run(127, 129, grouped, can_weigh, 1 << 26);
      host::thread_count = 3;
      run(257, 513, grouped, can_weigh, 1 << 26);
      run(130, 300, grouped, can_weigh, 1 << 20);
      run(65, 1100, grouped, can_weigh, 1 << 19);  // columns are split as well
      run(700, 90, grouped, can_weigh, 1 << 19);
      host::thread_count = 1;
      run(70, 2300, grouped, can_weigh, 3 << 19);  // few rows of many panels: cut by panels
    }
  }
  return test::report();
}
