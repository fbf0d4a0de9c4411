// The losses of all triplets against loops over the triplets, and what the engine promises them:
// positives and negatives of every anchor, gradients of both sets, memory within the workspace.
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "check.h"
#include "engines/labelled_rows_cpu.h"
#include "host_plain.h"
#include "losses/batch_all_triplet_loss.h"
#include "losses/semi_hard_triplet_loss.h"
#include "losses/triplet_statistics.h"

using namespace fastloss;

namespace {

// One row of similarities, with positives at `same`.
template <class T>
struct RowOf {
  std::vector<T> z;
  std::vector<int64_t> same;
  int64_t self;

  std::vector<bool> has_label;

  void mark() {
    has_label.assign(z.size(), false);
    for (const int64_t j : same) has_label[j] = true;
  }
  bool is_positive(int64_t j) const { return has_label[j] && j != self; }
  bool is_negative(int64_t j) const { return !has_label[j]; }
  int64_t size() const { return static_cast<int64_t>(z.size()); }
};

// Similarities on a lattice, so that ties are exact, or anywhere.
template <class T>
RowOf<T> random_row(int64_t m, int64_t positives, bool lattice, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  RowOf<T> row;
  for (int64_t j = 0; j < m; ++j) {
    const double z = normal(random) - 1.0;
    row.z.push_back(static_cast<T>(lattice ? std::round(4 * z) / 4 : z));
  }
  std::vector<int64_t> columns;
  for (int64_t j = 0; j < m; ++j) columns.push_back(j);
  std::shuffle(columns.begin(), columns.end(), random);
  row.same.assign(columns.begin(), columns.begin() + std::min(m, positives + 1));
  row.self = row.same.front();
  std::sort(row.same.begin(), row.same.end());
  row.mark();
  return row;
}

struct Expected {
  double value = 0;
  int64_t active = 0;
  std::vector<double> derivative;
};

// term(v) → {value, derivative} of every triplet with gap v.
template <class T, class Term>
Expected all_triplets(const RowOf<T>& row, double margin, const Term& term) {
  Expected expected;
  expected.derivative.assign(row.z.size(), 0.0);
  for (int64_t p = 0; p < row.size(); ++p) {
    if (!row.is_positive(p)) continue;
    for (int64_t n = 0; n < row.size(); ++n) {
      if (!row.is_negative(n)) continue;
      const auto [value, slope] =
          term(static_cast<double>(row.z[n]) - static_cast<double>(row.z[p]) + margin);
      expected.value += value;
      expected.active += value > 0;
      expected.derivative[n] += slope;
      expected.derivative[p] -= slope;
    }
  }
  return expected;
}

std::pair<double, double> relu(double v) { return {v > 0 ? v : 0, v > 0 ? 1 : 0}; }
std::pair<double, double> softplus(double v) {
  const auto both = math::logistic(v);
  return {both.softplus, both.sigmoid};
}

template <class T>
Expected semi_hard(const RowOf<T>& row, double margin) {
  Expected expected;
  expected.derivative.assign(row.z.size(), 0.0);
  for (int64_t p = 0; p < row.size(); ++p) {
    if (!row.is_positive(p)) continue;
    int64_t nearest = -1, farthest = -1;
    for (int64_t n = 0; n < row.size(); ++n) {
      if (!row.is_negative(n)) continue;
      if (row.z[n] < row.z[p] && (nearest < 0 || row.z[n] > row.z[nearest])) nearest = n;
      if (farthest < 0 || row.z[n] < row.z[farthest]) farthest = n;
    }
    const int64_t chosen = nearest >= 0 ? nearest : farthest;
    if (chosen < 0) continue;
    const double gap = static_cast<double>(row.z[chosen]) - static_cast<double>(row.z[p]) + margin;
    if (gap <= 0) continue;
    expected.value += gap;
    expected.derivative[chosen] += 1;
    expected.derivative[p] -= 1;
  }
  return expected;
}

template <class T>
RowPairs<T> pairs_of(RowOf<T>& copy) {
  const auto count = static_cast<int64_t>(copy.same.size());
  RowPairs<T> pairs(copy.size(), count);
  pairs.set(copy.z.data(), copy.same.data(), count, copy.self);
  return pairs;
}

template <class T, class Loss>
void expect(const Loss& loss, const RowOf<T>& row, const Expected& expected, double count,
            double tolerance) {
  for (const bool with_gradient : {true, false}) {
    RowOf<T> copy = row;
    auto pairs = pairs_of(copy);
    std::vector<T> dscore(row.z.size(), T(0));
    const ListTotal total = loss.row(pairs, with_gradient ? dscore.data() : nullptr);
    CHECK_CLOSE(total.value, expected.value, tolerance);
    CHECK(total.count == count);
    double largest = 1;
    for (const double x : expected.derivative) largest = std::max(largest, std::abs(x));
    for (int64_t j = 0; with_gradient && j < row.size(); ++j) {
      CHECK_CLOSE(static_cast<double>(dscore[j]) / largest, expected.derivative[j] / largest,
                  tolerance);
    }
  }
}

template <class T>
void rows(double exact, double rounded) {
  for (const int64_t m : {2, 3, 40, 300, 600}) {
    for (const int64_t positives : {0, 1, 5, 48, 49, 64, 65, 290, 599, 600}) {
      for (const bool lattice : {true, false}) {
        for (const double margin : {0.0, 0.25, 2.0}) {
          const auto row =
              random_row<T>(m, positives, lattice, static_cast<unsigned>(m + positives));
          const auto p = static_cast<double>(row.same.size()) - 1,
                     n = static_cast<double>(m) - p - 1;
          const auto all = all_triplets(row, margin, relu);
          const auto active = static_cast<double>(all.active);
          expect(BatchAllTripletLoss<T>{margin, false, true}, row, all, active, exact);
          expect(BatchAllTripletLoss<T>{margin, false, false}, row, all, p * n, exact);
          expect(BatchAllTripletLoss<T>{margin, true, true}, row,
                 all_triplets(row, margin, softplus), p * n, rounded);
          expect(SemiHardTripletLoss<T>{margin}, row, semi_hard(row, margin), n > 0 ? p : 0, exact);
        }
      }
    }
  }
}

// A margin below the unit of the similarities: compared exactly, and not after it was rounded off.
void tiny_margin() {
  RowOf<float> row{{0.0f, 1.0f, 1.0f}, {0, 1}, 0, {}};
  row.mark();
  auto pairs = pairs_of(row);
  const ListTotal total = BatchAllTripletLoss<float>{1e-9, false, true}.row<RowPairs<float>>(
      pairs, static_cast<float*>(nullptr));
  CHECK(total.count == 1);
  CHECK_CLOSE(1e9 * total.value, 1.0, 1e-6);
}

template <class T>
void statistics() {
  for (const int64_t positives : {0, 1, 7, 50, 99}) {
    for (const double margin : {0.0, 0.25, 1.0}) {
      const auto row = random_row<T>(100, positives, true, static_cast<unsigned>(positives));
      typename TripletStatistics<T>::Row expected;
      for (int64_t p = 0; p < row.size(); ++p) {
        if (row.is_negative(p)) ++expected.negatives, expected.negative_sum -= row.z[p];
        if (!row.is_positive(p)) continue;
        ++expected.positives, expected.positive_sum -= row.z[p];
        for (int64_t n = 0; n < row.size(); ++n) {
          if (!row.is_negative(n)) continue;
          const double near = -row.z[p], far = -row.z[n];
          ++expected.valid;
          expected.active += far < near + margin;
          expected.hard += far <= near;
          expected.semi_hard += near < far && far < near + margin;
        }
      }
      RowOf<T> copy = row;
      auto pairs = pairs_of(copy);
      const auto got = TripletStatistics<T>{margin}.row(pairs, nullptr);
      CHECK(got.valid == expected.valid);
      CHECK(got.active == expected.active);
      CHECK(got.hard == expected.hard);
      CHECK(got.semi_hard == expected.semi_hard);
      CHECK(got.positives == expected.positives && got.negatives == expected.negatives);
      CHECK_CLOSE(got.positive_sum, expected.positive_sum, 1e-12);
      CHECK_CLOSE(got.negative_sum, expected.negative_sum, 1e-12);
    }
  }
}

// n anchors of d features against m candidates of ever other labels, or against themselves.
struct Problem {
  int64_t n, m, d;
  bool itself;
  std::vector<double> anchors, candidates;
  std::vector<int64_t> anchor_label, label, order, begin, end;

  Problem(int64_t n_, int64_t m_, int64_t d_, int64_t classes, bool itself_)
      : n(n_), m(itself_ ? n_ : m_), d(d_), itself(itself_) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < m * d; ++i) candidates.push_back(normal(random));
    for (int64_t j = 0; j < m; ++j) label.push_back((j * j + 3 * j) % classes);
    for (int64_t i = 0; i < n * d; ++i) anchors.push_back(normal(random));
    for (int64_t i = 0; i < n; ++i) anchor_label.push_back((5 * i) % classes);
    if (itself) anchors = candidates, anchor_label = label;
    for (int64_t j = 0; j < m; ++j) order.push_back(j);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return label[a] < label[b]; });
    for (int64_t i = 0; i < n; ++i) {
      const auto below = [&](int64_t j, int64_t l) { return label[j] < l; };
      const auto above = [&](int64_t l, int64_t j) { return l < label[j]; };
      begin.push_back(std::lower_bound(order.begin(), order.end(), anchor_label[i], below) -
                      order.begin());
      end.push_back(std::upper_bound(order.begin(), order.end(), anchor_label[i], above) -
                    order.begin());
    }
  }

  double similarity(Similarity kind, int64_t i, int64_t j) const {
    const double* const a = anchors.data() + i * d;
    const double* const b = candidates.data() + j * d;
    const double dot = detail::dot(a, b, d), square = detail::squared_distance<double>(a, b, d);
    const bool cosine = kind == Similarity::kCosine;
    return scaled_similarity(kind, 1.0, dot, cosine ? inverse_norm(a, d) : 1,
                             cosine ? inverse_norm(b, d) : 1, square);
  }
  RowOf<double> row(Similarity kind, int64_t i) const {
    RowOf<double> row;
    for (int64_t j = 0; j < m; ++j) row.z.push_back(similarity(kind, i, j));
    row.same.assign(order.begin() + begin[i], order.begin() + end[i]);
    row.self = itself ? i : -1;
    row.mark();
    return row;
  }
};

void engine(Problem p, Similarity kind, int64_t workspace) {
  constexpr double kMargin = 0.5, kOverall = 0.25;
  const auto factor_of = [](int64_t i) { return 1.0 + 0.5 * static_cast<double>(i % 3); };
  const auto value = [&] {
    double sum = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      sum += factor_of(i) * all_triplets(p.row(kind, i), kMargin, relu).value;
    }
    return kOverall * sum;
  };

  LabelledInput<double> in{};
  in.n = p.n, in.m = p.m, in.d = p.d;
  in.anchors = p.anchors.data(), in.candidates = p.candidates.data(), in.itself = p.itself;
  in.same = {p.order.data(), p.begin.data(), p.end.data()};
  for (int64_t i = 0; i < p.n; ++i) in.most = std::max(in.most, p.end[i] - p.begin[i]);
  in.similarity = kind, in.workspace = workspace;
  const BatchAllTripletLoss<double> loss{kMargin, false, true};
  std::vector<ListTotal> rows(p.n), without(p.n);
  std::vector<double> query(p.n * p.d), key(p.m * p.d);
  const PairwiseGradients<double> gradients{query.data(), key.data(), nullptr, nullptr, nullptr};
  host::bytes_peak = host::bytes_live;
  const int64_t before = host::adds;
  LabelledRows<double, double>(in).run(
      loss, rows.data(), factor_of, [] { return kOverall; }, gradients);
  CHECK(host::adds - before == 3 * p.n * p.m * p.d);
  LabelledRows<double, double>(in).run(loss, without.data(), factor_of, [] { return kOverall; },
                                       {});
  CHECK(host::adds - before == 4 * p.n * p.m * p.d);
  // One tile and sixteen complete rows are kept in any case; the key gradient's memory is lent.
  CHECK(host::bytes_peak <= std::max<int64_t>(workspace, 1500000) + 64 * (p.n + p.m));
  CHECK(host::bytes_live == 0);

  for (int64_t i = 0; i < p.n; ++i) {
    const auto expected = all_triplets(p.row(kind, i), kMargin, relu);
    CHECK_CLOSE(rows[i].value, expected.value, 1e-10);
    CHECK(rows[i].count == static_cast<double>(expected.active));
    CHECK(rows[i].value == without[i].value && rows[i].count == without[i].count);
  }
  // Central differences at some places; of one set, both gradients are those of one row.
  for (int64_t place = 0; place < p.m * p.d; place += p.m * p.d / 3 + 1) {
    const double step = 1e-6, at = p.candidates[place], was = p.itself ? p.anchors[place] : 0;
    p.candidates[place] = at + step;
    if (p.itself) p.anchors[place] = was + step;
    const double up = value();
    p.candidates[place] = at - step;
    if (p.itself) p.anchors[place] = was - step;
    const double down = value();
    p.candidates[place] = at;
    if (p.itself) p.anchors[place] = was;
    const double got = key[place] + (p.itself ? query[place] : 0);
    CHECK_CLOSE(got, (up - down) / (2 * step), 1e-4);
  }
  for (int64_t place = 0; !p.itself && place < p.n * p.d; place += p.n * p.d / 3 + 1) {
    const double step = 1e-6, at = p.anchors[place];
    p.anchors[place] = at + step;
    const double up = value();
    p.anchors[place] = at - step;
    const double down = value();
    p.anchors[place] = at;
    CHECK_CLOSE(query[place], (up - down) / (2 * step), 1e-4);
  }
}

}  // namespace

int main() {
  rows<float>(1e-6, 3e-6);
  rows<double>(1e-12, 1e-12);
  tiny_margin();
  statistics<float>();
  statistics<double>();
  for (const auto kind : {Similarity::kDot, Similarity::kCosine, Similarity::kEuclidean,
                          Similarity::kSquaredEuclidean}) {
    for (const bool itself : {true, false}) {
      engine(Problem(37, 70, 5, 4, itself), kind, 1 << 26);
      engine(Problem(90, 330, 3, 7, itself), kind, 1);
      engine(Problem(3, 300, 2, 2, itself), kind, 1 << 20);
    }
  }
  return test::report();
}
