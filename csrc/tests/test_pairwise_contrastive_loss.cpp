// Contrastive loss of all pairs against a double loop: values and gradients of the engine, one row
// at a time by dual numbers, every pair once whichever side meets it.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "engines/self_cpu.h"
#include "host_plain.h"
#include "losses/pairwise_contrastive_loss.h"

using namespace fastloss;
using test::Dual;

namespace {

using Loss = PairwiseContrastiveLoss<double>;
constexpr double kMargin = 1.25, kScale = 0.5;
constexpr NegativeTerm kTerms[] = {NegativeTerm::kMarginMinusDistanceSquared,
                                   NegativeTerm::kMarginSquaredMinusDistanceSquared,
                                   NegativeTerm::kLinear, NegativeTerm::kAsPublished};

Loss made(NegativeTerm term, double origin, const std::vector<int32_t>& label) {
  const double options[] = {kMargin, kScale, static_cast<double>(term), origin};
  return Loss::make(options, label.data());
}

Dual term_of(NegativeTerm term, Dual d, bool same) {
  const auto above = [](Dual x) { return x > Dual(0) ? x : Dual(0); };
  const Dual m = kMargin, c = kScale;
  switch (term) {
    case NegativeTerm::kMarginMinusDistanceSquared:
      return c * (same ? d * d : above(m - d) * above(m - d));
    case NegativeTerm::kMarginSquaredMinusDistanceSquared:
      return c * (same ? d * d : above(m * m - d * d));
    case NegativeTerm::kLinear:
      return c * (same ? d : above(m - d));
    case NegativeTerm::kAsPublished:
      break;
  }
  return c * (same ? above(d * d - m * m) : d * d);
}

// Row `row` and candidates `column` on, which may be before it, itself and after it.
void test_span(NegativeTerm term, double origin, int64_t row, int64_t column, int64_t count) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 2.5);
  std::vector<int32_t> label(std::max(column + count, row + 1));
  for (int32_t& l : label) l = static_cast<int32_t>(random() % 3);
  std::vector<double> s(count), out(count, std::nan("")), factor(count), fields(count);
  for (double& x : s) x = origin - uniform(random);
  const int64_t itself = row - column;
  if (itself >= 0 && itself < count) s[itself] = -math::kInfinity<double>;
  const Loss loss = made(term, origin, label);
  loss.dscores(s.data(), row, column, count, {}, 3.0, out.data());
  const auto derivative = [&](int64_t j) {
    const Dual d = Dual(origin) - Dual(s[j], 1);
    return term_of(term, d, label[row] == label[column + j]).derivative;
  };
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    factor[j] = 1 + 0.1 * static_cast<double>(j);
    const bool own = column + j > row;
    CHECK_CLOSE(out[j], own ? 3 * derivative(j) : 0, 1e-14);
    if (own) sum += term_of(term, origin - s[j], label[row] == label[column + j]).value;
  }
  CHECK_CLOSE(loss.finish(loss.push(s.data(), row, column, count), 0).value, sum, 1e-13);
  std::vector<double> added = out;
  loss.add_columns(s.data(), row, column, count, fields.data(), count, factor.data(), added.data());
  for (int64_t j = 0; j < count; ++j) {
    const bool theirs = column + j < row;
    CHECK_CLOSE(added[j] - out[j], theirs ? factor[j] * derivative(j) : 0, 1e-13);
  }
}

struct RowGrad {
  double operator()(int64_t i) const { return 1 + static_cast<double>(i % 7) / 8; }
  double overall(const Loss::Row* rows) const {
    CHECK(rows[0].value >= 0);  // rows are complete
    return 0.5;
  }
};

void test_engine(NegativeTerm term, int64_t n, int64_t k, int64_t workspace, double products) {
  const int64_t all = n + k, d = 2;
  std::mt19937 random(5);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> x(all * d);
  for (double& value : x) value = normal(random);
  if (n > 3) std::copy_n(x.data(), d, x.data() + 3 * d);  // equal rows
  std::vector<int32_t> label(all);
  for (int32_t& l : label) l = static_cast<int32_t>(random() % 4);
  SelfInput<double, double> in{};
  in.n = n, in.k = k, in.d = d, in.rows = x.data(), in.others = x.data() + n * d;
  in.itself = k == 0;
  in.similarity = Similarity::kEuclidean, in.scale = 1, in.workspace = workspace;
  const RowGrad row_grad;
  std::vector<double> value(n), expected(all * d);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = k == 0 ? i + 1 : n; j < all; ++j) {
      const double *a = &x[i * d], *b = &x[j * d];
      const double distance = std::hypot(a[0] - b[0], a[1] - b[1]);
      const Dual of = term_of(term, {distance, 1}, label[i] == label[j]);
      value[i] += of.value;
      if (distance == 0) continue;
      for (int64_t c = 0; c < d; ++c) {
        const double slope = row_grad(i) / 2 * of.derivative * (a[c] - b[c]) / distance;
        expected[i * d + c] += slope;
        expected[j * d + c] -= slope;
      }
    }
  }
  std::vector<Loss::Row> rows(n);
  std::vector<double> gradient(all * d, std::nan(""));
  const SelfGradients<double> gradients{gradient.data(), gradient.data() + n * d, nullptr};
  for (const int pass : {0, 1, 2}) {  // forward, forward and gradient, backward
    SelfCpu<Loss, double> engine(in, made(term, 0, label));
    host::adds = 0;
    if (pass == 0) engine.forward(rows.data());
    if (pass == 1) engine.forward_gradient(rows.data(), row_grad, gradients);
    if (pass == 2) engine.backward(rows.data(), row_grad, gradients);
    const auto product = static_cast<double>(n * (k == 0 ? n : k) * d);
    if (pass == 1 && products > 0) CHECK(static_cast<double>(host::adds) <= products * product);
    for (int64_t i = 0; i < n; ++i) CHECK_CLOSE(rows[i].value, value[i], 1e-12);
    for (int64_t i = 0; pass > 0 && i < all * d; ++i) {
      CHECK_CLOSE(gradient[i], expected[i], 1e-11);
    }
    if (pass == 1) continue;
    std::fill(gradient.begin(), gradient.end(), std::nan(""));
  }
  CHECK(host::bytes_live == 0);
}

}  // namespace

int main() {
  for (const NegativeTerm term : kTerms) {
    for (const double origin : {0.0, 1.0}) {
      test_span(term, origin, 0, 1, 40);     // after the row
      test_span(term, origin, 0, 0, 1);      // itself
      test_span(term, origin, 20, 3, 40);    // around it
      test_span(term, origin, 100, 3, 40);   // before it
      test_span(term, origin, 3, 200, 255);  // others
    }
  }
  for (const int threads : {1, 3}) {
    host::thread_count = threads;
    for (const NegativeTerm term : kTerms) {
      test_engine(term, 130, 0, 1 << 26, 0);
      test_engine(term, 40, 300, 1 << 26, 0);
    }
    constexpr auto kTerm = NegativeTerm::kMarginMinusDistanceSquared;
    for (const int64_t n : {1, 2, 5}) test_engine(kTerm, n, 0, 1 << 26, 0);
    test_engine(kTerm, 1200, 0, 1 << 26, 1.75);
    test_engine(kTerm, 1200, 0, 1 << 20, 1.85);
    test_engine(kTerm, 500, 700, 1 << 20, 3.4);
    test_engine(kTerm, 3, 2000, 1 << 26, 0);
  }
  return test::report();
}
