// Losses without a normaliser, functor and engine: derivatives are those of dual numbers, loss and
// gradients those of the definition, however the matrix is cut.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "engines/pairwise_cpu.h"
#include "host_plain.h"
#include "losses/in_batch_bpr_loss.h"
#include "losses/in_batch_hinge_loss.h"
#include "losses/siglip_loss.h"

using namespace fastloss;
using test::Dual;

namespace {

constexpr double kInf = math::kInfinity<double>;

template <class T>
T softplus_of(T x) {
  return log(T(1.0) + exp(x));
}
template <class T>
T positive_part(T x) {
  return x > T(0.0) ? x : T(0.0);
}

// A row by its definition: scores of the kept keys but the target (z, bias not added), the target's
// if there is one.
struct SigLip {
  using Loss = SigLipLoss<double>;
  static constexpr bool kDiagonal = false;
  static constexpr double kBias = -1.5;
  static Loss loss() { return {kBias}; }
  template <class T>
  static T definition(const std::vector<T>& others, const T* target) {
    T sum = target != nullptr ? softplus_of(-(*target + T(kBias))) : T(0.0);
    for (const T& z : others) sum += softplus_of(z + T(kBias));
    return sum;
  }
};

struct Bpr {
  using Loss = InBatchBprLoss<double>;
  static constexpr bool kDiagonal = true;
  static Loss loss() { return {}; }
  template <class T>
  static T definition(const std::vector<T>& others, const T* target) {
    T sum = 0.0;
    for (const T& z : others) sum += softplus_of(z - *target);
    return sum;
  }
};

struct Hinge {
  using Loss = InBatchHingeLoss<double>;
  static constexpr bool kDiagonal = true;
  static constexpr double kMargin = 0.6;
  static Loss loss() { return {{{kMargin}}}; }
  template <class T>
  static T definition(const std::vector<T>& others, const T* target) {
    T sum = 0.0;
    for (const T& z : others) sum += positive_part(T(kMargin) - *target + z);
    return sum;
  }
};

// --------------------------------------------------------------------------------------- functors

template <class Which>
void test_functor(std::vector<double> others, double target) {
  const auto loss = Which::loss();
  const auto count = static_cast<int64_t>(others.size());
  std::vector<double> dscore(others.size());
  // In two spans, a masked score among them.
  others.push_back(-kInf);
  std::vector<double> of_masked(others.size());
  auto state = loss.slopes(others.data(), count / 2, target, of_masked.data());
  state.merge(loss.slopes(others.data() + count / 2, count - count / 2 + 1, target,
                          of_masked.data() + count / 2));
  CHECK(of_masked.back() == 0);
  others.pop_back();
  const auto row = loss.finish(state, target, 0);
  const auto value = [&](const std::vector<Dual>& z, Dual t) { return Which::definition(z, &t); };

  const std::vector<Dual> constant(others.begin(), others.end());
  const Dual of_target = value(constant, Dual(target, 1));
  CHECK_CLOSE(row.value, of_target.value, 1e-13);
  CHECK_CLOSE(row.dtarget, of_target.derivative, 1e-13);
  for (size_t j = 0; j < others.size(); ++j) {
    auto moved = constant;
    moved[j].derivative = 1;
    CHECK_CLOSE(of_masked[j], value(moved, target).derivative, 1e-13);
  }
  auto scaled = constant, shifted = constant;
  for (Dual& z : scaled) z.derivative = z.value;
  for (Dual& z : shifted) z.derivative = 1;
  CHECK_CLOSE(row.moment, value(scaled, Dual(target, target)).derivative, 1e-12);
  if constexpr (requires { row.slope; }) {
    CHECK_CLOSE(row.slope, value(shifted, Dual(target, 1)).derivative, 1e-13);
  }
}

template <class Which>
void test_functors() {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 4);
  for (const int count : {1, 2, 17, 200}) {
    std::vector<double> others(count);
    for (double& z : others) z = normal(random);
    test_functor<Which>(others, normal(random));
  }
}

void test_ends() {
  using Loss = SigLipLoss<double>;
  CHECK_CLOSE(Loss::at(-800.0).value, 0.0, 0.0);
  CHECK(std::abs(Loss::at(-40.0).value / std::exp(-40.0) - 1) < 1e-14);
  CHECK(std::abs(Loss::at(-40.0).derivative / std::exp(-40.0) - 1) < 1e-14);
  CHECK(Loss::at(1e30).value == 1e30 && Loss::at(1e30).derivative == 1);
  CHECK(std::isnan(Loss::at(std::nan("")).value));
  const Loss loss{-10.0};
  const auto none = loss.finish({}, -kInf, -1);  // no positive: nothing of its own
  CHECK(none.value == 0 && none.dtarget == 0 && none.slope == 0 && none.moment == 0);
  // Rows of a million tiny scores. All are equal, so that what additions round away is the same
  // time after time: it must not grow with the span, nor with the row.
  const SigLipLoss<float> single{-10.0f};
  constexpr int kSpan = 4096, kSpans = 256;
  for (int k = 0; k < 32; ++k) {
    std::vector<float> z(kSpan, 0.1f + 0.02f * static_cast<float>(k)), dscore(kSpan);
    OnePassSums sums;
    for (int span = 0; span < kSpans; ++span)
      sums.merge(single.slopes(z.data(), kSpan, 0, dscore.data()));
    const auto term = single.at(z[0] - 10.0f);
    const double exact = std::log1p(std::exp(static_cast<double>(z[0] - 10.0f)));
    CHECK(std::abs(term.value / exact - 1) < 5e-7);
    CHECK(std::abs(sums.value / kSpans / kSpan / term.value - 1) < 1.5e-6);
    CHECK(std::abs(sums.slope / kSpans / kSpan / term.derivative - 1) < 1.5e-6);
    CHECK(std::abs(sums.moment / kSpans / kSpan / (term.derivative * z[0]) - 1) < 1.5e-6);
  }
  // At distance 0 nothing is pulled, a target neither.
  for (const double z : {0.0, -0.0}) {
    CHECK(coefficient(Similarity::kEuclidean, 2.0, z, 1.0, 3.0) == 0);
    double span = z;
    const double dscore = 3;
    CHECK(coefficients_of_distances(Similarity::kEuclidean, 2.0, 1.0, &dscore, &span, 1) == 0);
    CHECK(span == 0);
  }
  // At the kink the hinge has derivative 0; an infinite target does not spoil what is masked.
  double at_kink = -0.6, slope = 1;
  Hinge::loss().slopes(&at_kink, 1, 0.0, &slope);
  CHECK(slope == 0);
  double masked = -kInf;
  CHECK(Bpr::loss().slopes(&masked, 1, -kInf, &slope).value == 0 && slope == 0);
}

// ----------------------------------------------------------------------------------------- engine

struct Problem {
  int64_t n, m, d;
  std::vector<double> query, key, factor;
  std::vector<int64_t> target, ids, order, begin, end;

  Problem(int64_t n_, int64_t m_, int64_t d_, bool diagonal, bool grouped) : n(n_), m(m_), d(d_) {
    std::mt19937 random(11);
    std::normal_distribution<double> normal(0.2, 1);
    for (int64_t i = 0; i < n * d; ++i) query.push_back(normal(random));
    for (int64_t i = 0; i < m * d; ++i) key.push_back(normal(random));
    for (int64_t i = 0; i < n; ++i) factor.push_back(i % 5 == 1 ? 0.0 : 0.5 + 0.01 * double(i % 7));
    for (int64_t i = 0; i < n; ++i) {
      target.push_back(diagonal ? i : i % 4 == 3 ? -1 : (7 * i + 3) % m);
    }
    for (int64_t j = 0; j < m; ++j) ids.push_back(grouped ? (j * j) % 11 : j);
    for (int64_t j = 0; j < m; ++j) order.push_back(j);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return ids[a] < ids[b]; });
    begin.resize(m), end.resize(m);
    for (int64_t a = 0, b = 0; a < m; a = b) {
      while (b < m && ids[order[b]] == ids[order[a]]) ++b;
      for (int64_t k = a; k < b; ++k) begin[order[k]] = a, end[order[k]] = b;
    }
  }
};

// Similarity of two rows, and its derivative by the first.
double similarity(Similarity kind, const double* x, const double* y, int64_t d, double* dx) {
  double product = 0, xx = 0, yy = 0, square = 0;
  for (int64_t c = 0; c < d; ++c) {
    product += x[c] * y[c], xx += x[c] * x[c], yy += y[c] * y[c];
    square += (x[c] - y[c]) * (x[c] - y[c]);
  }
  const double norms = std::sqrt(xx * yy), distance = std::sqrt(square);
  for (int64_t c = 0; c < d; ++c) {
    dx[c] = kind == Similarity::kDot                ? y[c]
            : kind == Similarity::kCosine           ? y[c] / norms - product / norms / xx * x[c]
            : kind == Similarity::kSquaredEuclidean ? -2 * (x[c] - y[c])
            : distance == 0                         ? 0
                                                    : -(x[c] - y[c]) / distance;
  }
  return kind == Similarity::kDot                ? product
         : kind == Similarity::kCosine           ? product / norms
         : kind == Similarity::kSquaredEuclidean ? -square
                                                 : -distance;
}

template <class Which>
void test_engine(int64_t n, int64_t m, Similarity kind, bool grouped, int64_t workspace) {
  using Loss = typename Which::Loss;
  constexpr double kScale = 0.7, kOverall = 0.25;
  const int64_t d = 3;
  const Problem p(n, m, d, Which::kDiagonal, grouped);
  PairwiseInput<double, double> in{};
  in.n = n, in.m = m, in.d = d;
  in.query = p.query.data(), in.key = p.key.data(), in.target = p.target.data();
  if (grouped) in.groups = {p.order.data(), p.begin.data(), p.end.data()};
  in.similarity = kind;
  in.scale = kScale;
  in.workspace = workspace;

  // The definition, with the functor's derivatives, which were tested above.
  const auto loss = Which::loss();
  std::vector<double> value(n), query(n * d, 0.0), key(m * d, 0.0), dx(d);
  double scale = 0, shift = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = p.target[i];
    std::vector<double> others, target;
    std::vector<int64_t> columns;
    for (int64_t j = 0; j < m; ++j) {
      const double z = kScale * similarity(kind, &p.query[i * d], &p.key[j * d], d, dx.data());
      if (j == t) target.push_back(z);
      if (j == t || (t >= 0 && p.ids[j] == p.ids[t])) continue;
      others.push_back(z);
      columns.push_back(j);
    }
    value[i] = Which::definition(others, target.data());
    std::vector<double> dscore(others.size());
    typename Loss::State state;
    state.merge(loss.slopes(others.data(), static_cast<int64_t>(others.size()),
                            t < 0 ? 0 : target[0], dscore.data()));
    const auto row = loss.finish(state, t < 0 ? 0 : target[0], t);
    if (t >= 0) columns.push_back(t), dscore.push_back(row.dtarget), others.push_back(target[0]);
    for (size_t k = 0; k < columns.size(); ++k) {
      const double* const q = &p.query[i * d];
      const double* const x = &p.key[columns[k] * d];
      const double w = kOverall * p.factor[i] * dscore[k];
      similarity(kind, q, x, d, dx.data());
      for (int64_t c = 0; c < d; ++c) query[i * d + c] += kScale * w * dx[c];
      similarity(kind, x, q, d, dx.data());
      for (int64_t c = 0; c < d; ++c) key[columns[k] * d + c] += kScale * w * dx[c];
      scale += w * others[k] / kScale;
      shift += w;
    }
  }

  struct {
    const double* factor;
    double operator()(int64_t i) const { return factor[i]; }
    double overall(const typename Loss::Row*) const { return kOverall; }
  } const row_grad{p.factor.data()};
  std::vector<typename Loss::Row> rows(n);
  const auto check_rows = [&] {
    for (int64_t i = 0; i < n; ++i) CHECK_CLOSE(rows[i].value, value[i], 1e-11);
  };
  std::vector<double> got_query(n * d), got_key(m * d);
  double got_scale = 0, got_shift = 0;
  const bool shifts = requires { rows[0].slope; };
  const auto check_gradients = [&](bool with_query, bool with_key) {
    for (int64_t i = 0; with_query && i < n * d; ++i) CHECK_CLOSE(got_query[i], query[i], 1e-11);
    for (int64_t i = 0; with_key && i < m * d; ++i) CHECK_CLOSE(got_key[i], key[i], 1e-11);
    CHECK_CLOSE(got_scale, scale, 1e-10);
    if (shifts) CHECK_CLOSE(got_shift, shift, 1e-10);
  };
  const auto clear = [&] {
    for (auto* x : {&got_query, &got_key}) std::fill(x->begin(), x->end(), 99.0);
    got_scale = got_shift = 99;
    host::adds = 0;
    host::bytes_peak = host::bytes_live;
  };
  const int64_t product = n * m * d;

  host::adds = 0;
  PairwiseCpu<Loss, double>(in, loss).forward(rows.data());
  check_rows();
  CHECK(host::adds == product);
  for (const bool with_query : {true, false}) {
    for (const bool with_key : {true, false}) {
      PairwiseGradients<double> gradients{};
      gradients.query = with_query ? got_query.data() : nullptr;
      gradients.key = with_key ? got_key.data() : nullptr;
      gradients.scale = &got_scale;
      gradients.shift = &got_shift;
      const int products = 1 + with_query + with_key;
      clear();
      std::fill(rows.begin(), rows.end(), typename Loss::Row{});
      PairwiseCpu<Loss, double>(in, loss).one_pass_forward_gradient(rows.data(), row_grad,
                                                                    gradients);
      check_rows();
      check_gradients(with_query, with_key);
      CHECK(host::adds == products * product);
      CHECK(host::bytes_peak <=
            std::max<int64_t>(workspace, 400000) + (n + m) * (d + 1) * 8 + 128 * (n + m));
      clear();
      PairwiseCpu<Loss, double>(in, loss).one_pass_backward(rows.data(), row_grad, gradients);
      check_gradients(with_query, with_key);
      CHECK(products > 1 || host::adds == 0);  // rows know the gradients of numbers
    }
  }
  CHECK(host::bytes_live == 0);
}

template <class Which>
void test_engines() {
  const Similarity all[] = {Similarity::kDot, Similarity::kCosine, Similarity::kEuclidean,
                            Similarity::kSquaredEuclidean};
  for (const Similarity kind : all) {
    for (const bool grouped : {false, true}) {
      host::thread_count = 1;
      test_engine<Which>(1, 1, kind, grouped, 1 << 26);
      test_engine<Which>(127, 129, kind, grouped, 1 << 26);
      host::thread_count = 3;
      test_engine<Which>(257, 513, kind, grouped, 1 << 26);
      test_engine<Which>(300, 700, kind, grouped, 1 << 19);  // rows and columns are cut
      host::thread_count = 1;
      test_engine<Which>(70, 2300, kind, grouped, 3 << 19);  // few rows of many panels
    }
  }
  // More queries than keys.
  if (!Which::kDiagonal) test_engine<Which>(700, 90, Similarity::kCosine, true, 1 << 19);
}

}  // namespace

int main() {
  test_functors<SigLip>();
  test_functors<Bpr>();
  test_functors<Hinge>();
  test_ends();
  test_engines<SigLip>();
  test_engines<Bpr>();
  test_engines<Hinge>();
  return test::report();
}
