// The hand-written derivatives of the listwise losses are the derivatives, their edges are right,
// and the exponential sums' polynomials keep the error they promise.
#include <algorithm>
#include <random>
#include <vector>

#include "check.h"
#include "core/exponential_sums.h"
#include "dual.h"
#include "host_plain.h"
#include "losses/listnet_loss.h"
#include "losses/pairwise_hinge_loss.h"
#include "losses/ranknet_loss.h"

using namespace fastloss;
using test::Dual;

namespace {

const double inf = math::kInfinity<double>;

void check_term(PairTerm<double> got, Dual expected) {
  CHECK_CLOSE(got.value, expected.value, 1e-14);
  CHECK_CLOSE(got.derivative, expected.derivative, 1e-14);
}

void test_ranknet() {
  const RankNetLoss<double> loss(RankNetOptions{.sigma = 1.5, .scale = 1.25});
  for (double t = -20; t <= 20; t += 0.37) {
    const Dual u = Dual(-1.5) * Dual(t, 1);
    check_term(loss.pair(t), Dual(1.25) * log(Dual(1) + exp(u)));
    check_term(loss.tie(t), Dual(0.625) * (log(Dual(1) + exp(u)) + log(Dual(1) + exp(-u))));
  }
  CHECK(loss.tie(0).derivative == 0);
  // Well ordered pairs keep their relative precision, badly ordered ones their gradient.
  CHECK(std::abs(loss.pair(40).value / (1.25 * std::exp(-60.0)) - 1) < 1e-14);
  CHECK(std::abs(loss.pair(40).derivative / (-1.875 * std::exp(-60.0)) - 1) < 1e-14);
  CHECK_CLOSE(loss.pair(-1e4).value, 1.25 * 1.5e4, 1e-15);
  CHECK(loss.pair(-1e4).derivative == -1.875);
  CHECK(loss.pair(inf).value == 0 && loss.pair(inf).derivative == 0);
  CHECK(loss.pair(-inf).value == inf && loss.pair(-inf).derivative == -1.875);
  CHECK(std::isnan(loss.pair(std::nan("")).value));
}

void test_hinge() {
  for (const int power : {1, 2}) {
    const PairwiseHingeLoss<double> loss(PairwiseHingeOptions{.margin = 0.5, .power = power});
    for (double t = -3; t <= 3; t += 0.25) {
      const Dual v = Dual(0.5) - Dual(t, 1);
      const Dual hinge = v > Dual(0) ? v : Dual(0);
      check_term(loss.pair(t), power == 1 ? hinge : hinge * hinge);
    }
    CHECK(loss.pair(0.5).value == 0 && loss.pair(0.5).derivative == 0);
    CHECK(loss.pair(inf).value == 0 && loss.pair(inf).derivative == 0);
    CHECK(loss.pair(-inf).value == inf);
    CHECK(std::isnan(loss.pair(std::nan("")).value));
  }
}

using Target = ListNetOptions::Target;

ListItems<double> items_of(int64_t n, const double* score, const double* label) {
  return {n,
          score,
          label,
          nullptr,
          *std::max_element(score, score + n),
          *std::max_element(label, label + n)};
}

Dual listnet_definition(const std::vector<Dual>& s, const std::vector<double>& y, Target target) {
  std::vector<double> p;
  double total = 0;
  for (const double label : y) {
    p.push_back(target == Target::kSoftmax    ? std::exp(label / 2)
                : target == Target::kExp2Gain ? std::exp2(label) - 1
                                              : label);
    total += p.back();
  }
  const bool normalised = target == Target::kSoftmax || target == Target::kNormalize;
  Dual sum = 0, loss = 0;
  for (const Dual& x : s) sum += exp(x);
  for (size_t i = 0; i < s.size(); ++i) {
    loss += Dual(normalised ? p[i] / total : p[i]) * (log(sum) - s[i]);
  }
  return loss;
}

void test_listnet(size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> score(n), label(n), gradient(n);
  for (size_t i = 0; i < n; ++i) {
    score[i] = 2 * normal(random);
    label[i] = static_cast<double>(random() % 5);
  }
  label[0] = 3;
  for (const Target target :
       {Target::kSoftmax, Target::kNormalize, Target::kRaw, Target::kExp2Gain}) {
    const ListNetLoss<double> loss(ListNetOptions{target, 2.0});
    const double factor = 0.75;
    const ListTotal got = loss.list(items_of(static_cast<int64_t>(n), score.data(), label.data()),
                                    factor, gradient.data());
    CHECK(got.count == 1);
    for (size_t i = 0; i < n; i += 1 + n / 7) {
      std::vector<Dual> moved(score.begin(), score.end());
      moved[i].derivative = 1;
      const Dual expected = listnet_definition(moved, label, target);
      CHECK_CLOSE(got.value, expected.value, 1e-13);
      CHECK_CLOSE(gradient[i], factor * expected.derivative, 1e-13);
    }
  }
}

void test_listnet_edges() {
  const double score[] = {1000, -inf, 1001}, zero[] = {0, 0, 0}, label[] = {1, 0, 0};
  double gradient[3];
  const ListNetLoss<double> raw(ListNetOptions{Target::kRaw});
  CHECK_CLOSE(raw.list(items_of(3, score, label), 1, gradient).value, std::log1p(std::exp(1.0)),
              1e-15);
  CHECK(gradient[1] == 0);  // without score and without target
  const ListNetLoss<double> normal(ListNetOptions{Target::kNormalize});
  const ListTotal none = normal.list(items_of(3, score, zero), 1, gradient);
  CHECK(none.value == 0 && none.count == 1 && gradient[0] == 0 && gradient[2] == 0);
  // A winner far ahead leaves little, which keeps its digits.
  const float ahead[] = {0, 15, 1}, first[] = {0, 1, 0};
  const ListNetLoss<float> narrow(ListNetOptions{Target::kRaw});
  const double little = narrow.list({3, ahead, first, nullptr, 15, 1}, 1, nullptr).value;
  CHECK_CLOSE(little / std::log1p(std::exp(-15.0) + std::exp(-14.0)), 1, 1e-6);
  const ListNetLoss<float> flat(ListNetOptions{Target::kSoftmax, 1e300});
  CHECK_CLOSE(flat.list({3, ahead, first, nullptr, 15, 1}, 1, nullptr).value, 29 / 3.0, 1e-6);
  CHECK(raw.list({}, 1, nullptr).count == 0);
}

template <class T>
void test_sums() {
  using Sums = ExponentialSums<T>;
  long double worst = 0;
  for (int i = 1; i <= 20000; ++i) {
    const long double x = i / 20000.0L;
    long double sigmoid = 0, log1p = 0, power = 1;
    for (int k = 0; k < Sums::kTerms; ++k) {
      power *= x;
      sigmoid += Sums::kSigmoid[k] * power;
      log1p += Sums::kLog1p[k] * power;
    }
    worst = std::max(worst, std::abs(sigmoid / (x / (1 + x)) - 1));
    worst = std::max(worst, std::abs(log1p / std::log1p(x) - 1));
  }
  // Beside the polynomial's own error that of its coefficients, rounded to double.
  CHECK(worst <= Sums::kError + 3e-16L);
  CHECK(worst >= Sums::kError / 2);  // the promise is not an empty one
}

template <class T>
void test_log1p_and_exp2() {
  const double epsilon = std::numeric_limits<T>::epsilon();
  for (int i = 1; i <= 20000; ++i) {
    const T x = static_cast<T>(i) / T(20000);
    const long double exact = std::log1p(static_cast<long double>(x));
    CHECK(std::abs(math::log1p_up_to_1(x) / exact - 1) <= 2 * epsilon);
    const T y = static_cast<T>(i) / T(2000);
    const long double gain = std::exp2(static_cast<long double>(y)) - 1;
    CHECK(std::abs(math::exp2_minus_1(y) / gain - 1) <= 4 * epsilon);
  }
  CHECK(math::log1p_up_to_1(T(0)) == T(0));
  for (int y = 0; y < 24; ++y) CHECK(math::exp2_minus_1(T(y)) == static_cast<T>((1 << y) - 1));
  CHECK(math::exp2_minus_1(math::kInfinity<T>) == math::kInfinity<T>);
  CHECK(std::isnan(math::exp2_minus_1(std::numeric_limits<T>::quiet_NaN())));
}

}  // namespace

int main() {
  test_ranknet();
  test_hinge();
  for (const size_t n : {1, 7, 300, 1500}) test_listnet(n);
  test_listnet_edges();
  test_sums<float>();
  test_sums<double>();
  test_log1p_and_exp2<float>();
  test_log1p_and_exp2<double>();
  return test::report();
}
