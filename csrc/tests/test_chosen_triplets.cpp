// Losses and gradients of chosen triplets against plain loops: rows that many have chosen, rows
// that nobody has, anchors without a positive or a negative, equal rows, NaN.
#include <random>
#include <vector>

#include "check.h"
#include "engines/chosen_triplets.h"
#include "host_plain.h"
#include "losses/triplet_margin_loss.h"

using namespace fastloss;

namespace {

using Engine = ChosenTriplets<TripletMarginLoss<double>, double>;
constexpr int64_t d = 5;
constexpr double kMargin = 0.75;

struct Data {
  std::vector<double> x, y;  // anchors, candidates
  std::vector<Engine::Choice> choices;

  Data(int64_t n, int64_t m, bool itself) : x(n * d), y(itself ? 0 : m * d), choices(n) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal(0, 1);
    for (auto* values : {&x, &y}) {
      for (double& value : *values) value = 100 + normal(random);
    }
    // The first half of the candidates, some of them by many; every fifth has no positive, every
    // seventh no negative.
    for (int64_t i = 0; i < n; ++i) {
      const auto chosen = [&](int64_t none) -> int64_t {
        return i % none == 0 || m == 0 ? -1 : static_cast<int64_t>(random()) % ((m + 1) / 2);
      };
      choices[i] = {chosen(5), chosen(7)};
    }
    if (n > 4 && m > 0) choices[3] = {0, 0}, choices[4] = {0, 0};
  }
  std::vector<double>& candidates() { return y.empty() ? x : y; }
};

double distance(const double* a, const double* b) {
  double sum = 0;
  for (int64_t c = 0; c < d; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return std::sqrt(sum);
}

void test_against_loops(int64_t n, int64_t m, bool itself, bool all, Hinge hinge) {
  Data data(n, m, itself);
  auto& candidates = data.candidates();
  if (itself && n > 8) {  // equal rows: distance 0, derivative 0
    std::copy_n(&data.x[6 * d], d, &data.x[8 * d]);
    data.choices[6].positive = 8;
  }
  const TripletMarginLoss<double> loss{kMargin, hinge};
  const Engine engine{{data.x.data(), StoredType::kDouble},
                      {candidates.data(), StoredType::kDouble},
                      n,
                      m,
                      d,
                      itself,
                      data.choices.data(),
                      {},
                      loss,
                      all};
  std::vector<double> losses(n), dx(n * d, 9.0), dy(m * d, 9.0);
  std::vector<double> expected(n), ex(n * d), ey(itself ? 0 : m * d);
  auto& of_candidates = itself ? ex : ey;
  // Of one size, so that no sum is smaller than its terms' rounding errors.
  const auto factor = [](int64_t i) { return 0.5 + static_cast<double>(i % 7); };
  for (int64_t i = 0; i < n; ++i) {
    const auto [p, q] = data.choices[i];
    CHECK(engine.counts(i) == (q >= 0 && (all || p >= 0)));
    if (!engine.counts(i)) continue;
    const double* const a = &data.x[i * d];
    const double to_p = p < 0 ? 0 : distance(a, &candidates[p * d]);
    const auto of = loss.at(to_p, distance(a, &candidates[q * d]));
    expected[i] = of.value;
    const auto add = [&](int64_t j, double slope) {
      if (j < 0) return;
      const double* const b = &candidates[j * d];
      const double length = distance(a, b);
      for (int64_t c = 0; length > 0 && c < d; ++c) {
        ex[i * d + c] += slope * (a[c] - b[c]) / length;
        of_candidates[j * d + c] -= slope * (a[c] - b[c]) / length;
      }
    };
    add(p, factor(i) * of.derivative);
    add(q, -factor(i) * of.derivative);
  }
  engine.forward(losses.data());
  engine.backward(factor, {dx.data(), StoredType::kDouble},
                  itself ? Sink<double>{} : Sink<double>{dy.data(), StoredType::kDouble});
  for (int64_t i = 0; i < n; ++i) CHECK_CLOSE(losses[i], expected[i], 1e-13);
  for (int64_t i = 0; i < n * d; ++i) CHECK_CLOSE(dx[i], ex[i], 1e-12);
  for (size_t i = 0; i < ey.size(); ++i) CHECK_CLOSE(dy[i], ey[i], 1e-12);
  CHECK(host::bytes_live == 0);
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    host::thread_count = threads;
    for (const Hinge hinge : {Hinge::kRelu, Hinge::kSoftplus}) {
      for (const bool all : {false, true}) {
        for (const int64_t n : {0, 1, 2, 30, 9000}) test_against_loops(n, n, true, all, hinge);
        test_against_loops(40, 9, false, all, hinge);
        test_against_loops(9, 7000, false, all, hinge);
        test_against_loops(3, 0, false, all, hinge);
        test_against_loops(0, 3, false, all, hinge);
      }
    }
  }
  // A NaN reaches every row of the triplet, and no other.
  Data data(4, 4, true);
  data.choices = {{1, 2}, {0, 2}, {3, 0}, {-1, -1}};
  data.x[3 * d] = std::nan("");
  const Engine engine{{data.x.data(), StoredType::kDouble},
                      {data.x.data(), StoredType::kDouble},
                      4,
                      4,
                      d,
                      true,
                      data.choices.data(),
                      {},
                      {kMargin, Hinge::kSoftplus},
                      false};
  std::vector<double> losses(4), gradient(4 * d);
  engine.forward(losses.data());
  CHECK(!std::isnan(losses[0]) && !std::isnan(losses[1]) && std::isnan(losses[2]));
  engine.backward([](int64_t) { return 1.0; }, {gradient.data(), StoredType::kDouble}, {});
  const bool is_nan[] = {true, false, true, true};
  for (int64_t i = 0; i < 4; ++i) CHECK(std::isnan(gradient[i * d]) == is_nan[i]);
  return test::report();
}
