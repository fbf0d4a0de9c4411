// Rows against rows: distances and losses equal their definitions, value and derivatives, by dual
// numbers; rows that take no part are never read; tasks, types and missing gradients change
// nothing.
#include <limits>
#include <random>
#include <tuple>
#include <vector>

#include "check.h"
#include "dual.h"
#include "engines/rowwise_cpu.h"
#include "host_plain.h"
#include "losses/contrastive_loss.h"
#include "losses/labelled_triplet_loss.h"
#include "losses/triplet_margin_loss.h"

using namespace fastloss;
using test::Dual;
using Row = std::vector<double>;

constexpr Distance kDistances[] = {Distance::kEuclidean, Distance::kSquaredEuclidean,
                                   Distance::kMinkowski, Distance::kCosine, Distance::kDot};

Row draw(int64_t count, unsigned seed, double scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, scale);
  Row values(count);
  for (double& value : values) value = normal(random);
  return values;
}

Dual absolute(Dual x) { return x < Dual(0) ? -x : x; }
Dual power(Dual x, double p) { return x.value == 0 ? Dual(0) : exp(Dual(p) * log(x)); }

Dual distance(const RowDistance<double>& between, const std::vector<Dual>& x,
              const std::vector<Dual>& y) {
  Dual squares, powers, xx, yy, xy;
  for (size_t k = 0; k < x.size(); ++k) {
    const Dual delta = x[k] - y[k] + Dual(between.eps);
    squares += delta * delta;
    powers += power(absolute(delta), between.p);
    xx += x[k] * x[k];
    yy += y[k] * y[k];
    xy += x[k] * y[k];
  }
  switch (between.kind) {
    case Distance::kEuclidean:
      return sqrt(squares);
    case Distance::kSquaredEuclidean:
      return squares;
    case Distance::kMinkowski:
      return power(powers, 1 / between.p);
    case Distance::kCosine:
      return Dual(1) - xy / (sqrt(xx) * sqrt(yy));
    default:
      return -xy;
  }
}

// Rows as duals, the derivative being that by entry `of` (none: -1).
std::vector<Dual> duals(const double* row, int64_t d, int64_t of) {
  std::vector<Dual> result;
  for (int64_t k = 0; k < d; ++k) result.push_back({row[k], k == of ? 1.0 : 0.0});
  return result;
}

void test_distances() {
  for (const Distance kind : kDistances) {
    for (const double p : {1.0, 1.5, 3.0}) {
      if (kind != Distance::kMinkowski && p != 1) continue;
      for (const double eps : {0.0, 0.25}) {
        for (const int64_t d : {1, 5, 16, 37}) {
          const RowDistance<double> between{.kind = kind, .p = p, .eps = eps};
          const Row x = draw(d, 1), y = draw(d, 2);
          const auto pair = between.measure(x.data(), y.data(), d);
          CHECK_CLOSE(pair.distance,
                      distance(between, duals(x.data(), d, -1), duals(y.data(), d, -1)).value,
                      1e-13);
          Row dx(d, 0.5), dy(d, 0.25);
          between.add_first(pair, -1.5, x.data(), y.data(), d, dx.data());
          between.add_second(pair, -1.5, x.data(), y.data(), d, dy.data());
          for (int64_t k = 0; k < d; ++k) {
            const Dual by_x = distance(between, duals(x.data(), d, k), duals(y.data(), d, -1));
            const Dual by_y = distance(between, duals(x.data(), d, -1), duals(y.data(), d, k));
            CHECK_CLOSE(dx[k], 0.5 - 1.5 * by_x.derivative, 1e-12);
            CHECK_CLOSE(dy[k], 0.25 - 1.5 * by_y.derivative, 1e-12);
          }
        }
      }
    }
  }
}

// Equal rows, zero rows, rows near the ends of the type, and a NaN.
template <class T>
void test_edges_of_distances(double small, double large) {
  constexpr int64_t d = 19;
  std::vector<T> zero(d), x(d), y(d), dx(d), dy(d);
  for (int64_t k = 0; k < d; ++k) {
    x[k] = static_cast<T>(1 + k % 3);
    y[k] = static_cast<T>(k % 2 ? 2 : -1);
  }
  const auto gradients = [&](const RowDistance<T>& between, const T* a, const T* b) {
    const auto pair = between.measure(a, b, d);
    std::fill_n(dx.data(), d, T(0));
    std::fill_n(dy.data(), d, T(0));
    between.add_first(pair, 1, a, b, d, dx.data());
    between.add_second(pair, 1, a, b, d, dy.data());
    return pair.distance;
  };
  for (const Distance kind : kDistances) {
    const RowDistance<T> between{.kind = kind, .p = 3};
    const double same = gradients(between, x.data(), x.data());
    if (kind != Distance::kDot) {
      CHECK(std::abs(same) < 1e-15);
      for (int64_t k = 0; k < d; ++k) CHECK(std::abs(static_cast<double>(dx[k])) < 1e-7);
    }
    if (kind != Distance::kCosine && kind != Distance::kDot) {
      CHECK(same == 0);
      for (int64_t k = 0; k < d; ++k) CHECK(dx[k] == 0 && dy[k] == 0);
    }
    if (kind == Distance::kCosine) {
      CHECK(gradients(between, zero.data(), x.data()) == 1);
      for (int64_t k = 0; k < d; ++k) CHECK(dx[k] == 0 && dy[k] == 0);
      CHECK(gradients(between, zero.data(), zero.data()) == 1);
      for (int64_t k = 0; k < d; ++k) CHECK(dx[k] == 0 && dy[k] == 0);
    }
    std::vector<T> poisoned = x;
    poisoned[d - 1] = static_cast<T>(std::nan(""));
    CHECK(std::isnan(between.measure(poisoned.data(), y.data(), d).distance));
    CHECK(std::isnan(between.measure(poisoned.data(), x.data(), d).distance));
    // The shortest rows that there are.
    std::vector<T> short_x(d), short_y(d);
    for (int64_t k = 0; k < d; ++k) {
      short_x[k] = x[k] * std::numeric_limits<T>::denorm_min();
      short_y[k] = y[k] * std::numeric_limits<T>::denorm_min();
    }
    for (const auto& other : {x, short_y}) {
      CHECK(std::isfinite(gradients(between, short_x.data(), other.data())));
      for (int64_t k = 0; k < d; ++k) {
        CHECK(std::isfinite(static_cast<double>(dx[k])));
        CHECK(std::isfinite(static_cast<double>(dy[k])));
      }
    }
    // Homogeneous ones: distances grow with the rows, gradients do not; cosine the other way round.
    if (kind == Distance::kSquaredEuclidean || kind == Distance::kDot) continue;
    const double one = gradients(between, x.data(), y.data());
    const std::vector<T> expected = dx, other = dy;
    for (const double scale : {small, large}) {
      std::vector<T> a(d), b(d);
      for (int64_t k = 0; k < d; ++k) {
        a[k] = static_cast<T>(scale) * x[k];
        b[k] = static_cast<T>(scale) * y[k];
      }
      const double got = gradients(between, a.data(), b.data());
      const double grown = kind == Distance::kCosine ? 1 : scale;
      CHECK_CLOSE(got / grown, one, 1e-6);
      for (int64_t k = 0; k < d; ++k) {
        const double back = kind == Distance::kCosine ? scale : 1;
        CHECK_CLOSE(static_cast<double>(dx[k]) * back, static_cast<double>(expected[k]), 1e-6);
        CHECK_CLOSE(static_cast<double>(dy[k]) * back, static_cast<double>(other[k]), 1e-6);
      }
    }
  }
}

// Runs both passes and holds them to `definition(row, x)`, x[o] the rows of operand o as duals.
template <class Rows, class Definition>
void test_against(const Rows& rows, const Row* data, const Definition& definition) {
  constexpr int kOperands = Rows::kOperands;
  const int64_t n = rows.rows, d = rows.features;
  Row weights(n), upstream(n), losses(n), slopes(n * rows.slopes(), -7.0), out[kOperands];
  for (int64_t i = 0; i < n; ++i) {
    weights[i] = static_cast<double>(i % 3);
    upstream[i] = 0.5 - static_cast<double>(i % 5);
  }
  const RowwiseCpu<Rows, double> engine(rows);
  const double total = engine.forward(weights.data(), losses.data(), slopes.data());
  Sink<double> sinks[kOperands];
  for (int o = 0; o < kOperands; ++o) {
    out[o].assign(n * rows.count(o) * d, -7.0);
    sinks[o] = {out[o].data(), StoredType::kDouble};
  }
  engine.backward(slopes.data(), {upstream.data(), weights.data(), 0.25}, sinks);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += losses[i];
    const auto of = [&](int operand, int64_t entry) {
      std::vector<Dual> x[kOperands];
      for (int o = 0; o < kOperands; ++o) {
        const int64_t size = rows.count(o) * d;
        x[o] = duals(data[o].data() + i * size, size, o == operand ? entry : -1);
      }
      return definition(i, x);
    };
    CHECK_CLOSE(losses[i], weights[i] == 0 ? 0 : weights[i] * of(-1, -1).value, 1e-12);
    for (int o = 0; o < kOperands; ++o) {
      for (int64_t k = 0; k < rows.count(o) * d; ++k) {
        const double factor = 0.25 * upstream[i] * weights[i];
        const double expected = factor == 0 ? 0 : factor * of(o, k).derivative;
        CHECK_CLOSE(out[o][i * rows.count(o) * d + k], expected, 1e-11);
      }
    }
  }
  CHECK_CLOSE(total, sum, 1e-12);

  // A gradient that is not wanted changes no other.
  for (int o = 0; o < kOperands; ++o) {
    Row alone(out[o].size(), -7.0);
    Sink<double> one[kOperands];
    one[o] = {alone.data(), StoredType::kDouble};
    engine.backward(slopes.data(), {upstream.data(), weights.data(), 0.25}, one);
    CHECK(alone == out[o]);
  }
  CHECK(engine.forward(weights.data(), nullptr, slopes.data()) == total);
}

Source<double> source(const Row& values) { return {values.data(), StoredType::kDouble}; }

// Rows of weight 0 hold NaN: they must not be read.
void poison(Row& values, int64_t n) {
  const int64_t width = static_cast<int64_t>(values.size()) / n;
  for (int64_t i = 0; i < n; i += 3) {
    for (int64_t k = 0; k < width; ++k) values[i * width + k] = std::nan("");
  }
}

void test_triplets() {
  const auto hinge = [](Dual x) { return x > Dual(0) ? x : Dual(0); };
  for (const Distance kind : kDistances) {
    for (const bool swap : {false, true}) {
      for (const auto& [n, h, d] :
           {std::tuple<int64_t, int64_t, int64_t>{40, 1, 7}, {9, 3, 17}, {5, 0, 4}, {0, 2, 3}}) {
        Row data[] = {draw(n * d, 1), draw(n * d, 2), draw(n * h * d, 3)};
        for (Row& values : data) {
          if (n > 0) poison(values, n);
        }
        const TripletRows<TripletMarginLoss<double>, double> rows{
            .operands = {source(data[0]), source(data[1]), source(data[2])},
            .rows = n,
            .features = d,
            .negatives = h,
            .between = {.kind = kind, .p = 1.5, .eps = 0.125},
            .swap = swap,
            .loss = {0.25, Hinge::kRelu}};
        test_against(rows, data, [&, h = h, d = d](int64_t, const std::vector<Dual>* x) {
          Dual sum;
          for (int64_t j = 0; j < h; ++j) {
            const auto first = x[2].begin() + j * d;
            const std::vector<Dual> own(first, first + d);
            Dual negative = distance(rows.between, x[0], own);
            const Dual other = distance(rows.between, x[1], own);
            if (swap && other < negative) negative = other;
            sum += hinge(distance(rows.between, x[0], x[1]) - negative + Dual(0.25));
          }
          return sum;
        });
      }
    }
  }
}

void test_pairs() {
  for (const Distance kind : kDistances) {
    const int64_t n = 21, d = 6;
    Row data[] = {draw(n * d, 4), draw(n * d, 5)}, labels(n);
    for (int64_t i = 0; i < n; ++i) labels[i] = static_cast<double>(i % 2);
    for (Row& values : data) poison(values, n);
    for (const double similar : {0.0, 1.0}) {
      const PairRows<ContrastiveLoss<double>, double> rows{
          .operands = {source(data[0]), source(data[1])},
          .rows = n,
          .features = d,
          .between = {.kind = kind, .p = 1.5},
          .labels = labels.data(),
          .similar = similar,
          .loss = {3.0, 0.5, NegativeTerm::kMarginMinusDistanceSquared}};
      test_against(rows, data, [&](int64_t row, const std::vector<Dual>* x) {
        const Dual to = distance(rows.between, x[0], x[1]), gap = Dual(3) - to;
        if (labels[row] == similar) return Dual(0.5) * to * to;
        return gap > Dual(0) ? Dual(0.5) * gap * gap : Dual(0);
      });
    }
  }
}

void test_labelled_triplets() {
  const int64_t n = 24, d = 5;
  Row data[] = {draw(n * d, 6), draw(n * d, 7), draw(n * d, 8)}, labels(n);
  for (int64_t i = 0; i < n; ++i) labels[i] = static_cast<double>(i / 2 % 2);
  for (Row& values : data) poison(values, n);
  const LabelledRows<LabelledTripletLoss<double>, double> rows{
      .operands = {source(data[0]), source(data[1]), source(data[2])},
      .rows = n,
      .features = d,
      .labels = labels.data(),
      .loss = {0.5, Hinge::kRelu}};
  const RowDistance<double> squared{.kind = Distance::kSquaredEuclidean};
  test_against(rows, data, [&](int64_t row, const std::vector<Dual>* x) {
    const auto& p = labels[row] == 1 ? x[1] : x[2];
    const auto& other = labels[row] == 1 ? x[2] : x[1];
    const Dual gap = Dual(2) * distance(squared, p, x[0]) - distance(squared, p, other) -
                     distance(squared, x[0], other) + Dual(0.5);
    return gap > Dual(0) ? gap : Dual(0);
  });
}

// More rows than a task has, stored in 16 bits: values and gradients are those of the same numbers
// in float, rounded once.
void test_halves_and_tasks() {
  const int64_t n = 700, h = 2, d = 33;
  std::vector<float> wide[3];
  std::vector<BFloat16> half[3], rounded[3];
  std::vector<float> out[3];
  TripletRows<TripletMarginLoss<double>, float> rows{.operands = {},
                                                     .rows = n,
                                                     .features = d,
                                                     .negatives = h,
                                                     .between = {},
                                                     .swap = true,
                                                     .loss = {1.0, Hinge::kSoftplus}};
  auto narrow = rows;
  Sink<float> sinks[3], narrow_sinks[3];
  for (int o = 0; o < 3; ++o) {
    for (const double value : draw(n * rows.count(o) * d, 11 + o)) {
      half[o].push_back(BFloat16::round(static_cast<float>(value)));
      wide[o].push_back(static_cast<float>(half[o].back()));
    }
    rounded[o].resize(half[o].size());
    out[o].resize(half[o].size());
    rows.operands[o] = {wide[o].data(), StoredType::kFloat};
    narrow.operands[o] = {half[o].data(), StoredType::kBFloat16};
    sinks[o] = {out[o].data(), StoredType::kFloat};
    narrow_sinks[o] = {rounded[o].data(), StoredType::kBFloat16};
  }
  using Engine = RowwiseCpu<decltype(rows), float>;
  std::vector<float> slopes(n * h), again(n * h);
  const double total = Engine(rows).forward(nullptr, nullptr, slopes.data());
  CHECK(total == Engine(narrow).forward(nullptr, nullptr, again.data()));
  host::forwards = true;
  CHECK(total == Engine(rows).forward(nullptr, nullptr, again.data()));
  host::forwards = false;
  CHECK(slopes == again);
  Engine(rows).backward(slopes.data(), {nullptr, nullptr, 0.5}, sinks);
  Engine(narrow).backward(slopes.data(), {nullptr, nullptr, 0.5}, narrow_sinks);
  for (int o = 0; o < 3; ++o) {
    for (size_t i = 0; i < out[o].size(); ++i) {
      CHECK(rounded[o][i].bits == BFloat16::round(out[o][i]).bits);
    }
  }
}

int main() {
  host::thread_count = 3;
  test_distances();
  test_edges_of_distances<float>(1e-30, 1e30);
  test_edges_of_distances<double>(1e-200, 1e200);
  test_triplets();
  test_pairs();
  test_labelled_triplets();
  test_halves_and_tasks();
  return test::report();
}
