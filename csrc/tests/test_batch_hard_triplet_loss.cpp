// The search for the hardest positive and negative against its definition: ties, NaN, rows that are
// no candidates of their own, columns of a tile as rows, and the engine around it.
#include <random>
#include <vector>

#include "check.h"
#include "engines/self_cpu.h"
#include "host_plain.h"
#include "losses/batch_hard_triplet_loss.h"

using namespace fastloss;

namespace {

template <class T>
using Loss = BatchHardTripletLoss<T>;

// One of two, the lowest of equal ones; a NaN before all others.
template <class T>
void hardest(T value, int64_t candidate, T& best, int64_t& place) {
  const bool first = place == Loss<T>::kNone;
  if (std::isnan(value) ? !std::isnan(best) || first : first || value > best) {
    best = value;
    place = candidate;
  }
}

// Row 0 of scores with candidates `column` on, in ascending order.
template <class T>
typename Loss<T>::Row definition(const std::vector<T>& s, const std::vector<int32_t>& label,
                                 int64_t row, int64_t column) {
  typename Loss<T>::Row of{Loss<T>::kNone, Loss<T>::kNone};
  T positive = 0, negative = 0;
  for (int64_t j = 0; j < static_cast<int64_t>(s.size()); ++j) {
    if (column + j == row) continue;
    if (label[column + j] == label[row]) {
      hardest(-s[j], column + j, positive, of.positive);
    } else {
      hardest(s[j], column + j, negative, of.negative);
    }
  }
  return of;
}

template <class T>
void test_rows(int64_t count, int classes, bool ties, int nans) {
  std::mt19937 random(static_cast<unsigned>(count + classes));
  std::normal_distribution<double> normal(0, 5);
  std::vector<T> s(count);
  std::vector<int32_t> label(count + 1);
  for (T& x : s) x = static_cast<T>(ties ? std::round(normal(random) / 4) : normal(random));
  for (int32_t& l : label) l = static_cast<int32_t>(random() % classes);
  for (int k = 0; k < nans; ++k) s[random() % count] = static_cast<T>(std::nan(""));
  if (count > 2) s[1] = -math::kInfinity<T>, s[2] = math::kInfinity<T>;
  const Loss<T> loss{label.data()};
  for (const int64_t row : {int64_t{0}, count / 2, count}) {
    for (const int64_t column : {0, 1}) {
      const auto expected = definition(s, label, row, column);
      const auto got = loss.finish(loss.push(s.data(), row, column, count), 0);
      CHECK(got.positive == expected.positive && got.negative == expected.negative);
      // In three spans, merged in either order.
      const int64_t cut = count / 3, second = count - cut;
      const typename Loss<T>::State parts[] = {
          loss.push(s.data(), row, column, cut),
          loss.push(s.data() + cut, row, column + cut, second - cut),
          loss.push(s.data() + second, row, column + second, count - second)};
      for (const bool backwards : {false, true}) {
        typename Loss<T>::State state;
        for (int k = 0; k < 3; ++k) state.merge(parts[backwards ? 2 - k : k]);
        const auto merged = loss.finish(state, 0);
        CHECK(merged.positive == expected.positive && merged.negative == expected.negative);
      }
    }
  }
}

template <class T>
void test_columns(int64_t rows, int64_t cols, bool nans) {
  std::mt19937 random(7);
  const int64_t stride = cols + 3;
  std::vector<T> tile(rows * stride);
  for (T& s : tile) s = static_cast<T>(random() % 9) - 4;  // ties
  if (nans) tile[rows / 2 * stride] = static_cast<T>(std::nan(""));
  // Candidates are rows, then columns.
  std::vector<int32_t> label(rows + cols);
  for (int32_t& l : label) l = static_cast<int32_t>(random() % 3);
  const Loss<T> loss{label.data()};
  std::vector<typename Loss<T>::State> states(cols);
  const int64_t half = rows / 2;  // in two tiles
  loss.push_columns(tile.data(), stride, half, cols, 0, rows, states.data());
  loss.push_columns(tile.data() + half * stride, stride, rows - half, cols, half, rows,
                    states.data());
  for (int64_t j = 0; j < cols; ++j) {
    std::vector<T> column(rows);
    for (int64_t r = 0; r < rows; ++r) column[r] = tile[r * stride + j];
    const auto expected = definition(column, label, rows + j, 0);
    const auto got = loss.finish(states[j], 0);
    CHECK(got.positive == expected.positive && got.negative == expected.negative);
  }
}

// All of n rows, and k others in their place.
void test_engine(int64_t n, int64_t k, int64_t workspace) {
  constexpr int64_t d = 3;
  std::mt19937 random(5);
  std::vector<float> x((n + k) * d);
  for (float& value : x) value = static_cast<float>(random() % 7);  // exact, with many ties
  std::vector<int32_t> label(n + k);
  for (int32_t& l : label) l = static_cast<int32_t>(random() % 5);
  if (n > 4) label[4] = 9;  // alone
  SelfInput<float, float> in{};
  in.n = n, in.k = k, in.d = d, in.rows = x.data(), in.others = x.data() + n * d;
  in.itself = k == 0;
  in.similarity = Similarity::kDot, in.scale = 1, in.workspace = workspace;
  host::adds = 0;
  std::vector<Loss<float>::Row> rows(n);
  SelfCpu<Loss<float>, float>(in, {label.data()}).forward(rows.data());
  for (int64_t i = 0; i < n; ++i) {
    const int64_t first = k == 0 ? 0 : n, count = k == 0 ? n : k;
    std::vector<float> s(count);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t c = 0; c < d; ++c) s[j] += x[i * d + c] * x[(first + j) * d + c];
    }
    const auto expected = definition(s, label, i, first);
    CHECK(rows[i].positive == expected.positive && rows[i].negative == expected.negative);
  }
  const auto square = static_cast<double>(n * (k == 0 ? n : k) * d);
  if (n > 1000) CHECK(static_cast<double>(host::adds) <= (k == 0 ? 0.6 : 1.0) * square);
}

// A NaN is in the scores of its own row alone, and is chosen by all others.
void test_nan_row() {
  constexpr int64_t n = 300, d = 2, nan = 170;
  std::vector<double> x(n * d);
  std::vector<int32_t> label(n);
  for (int64_t i = 0; i < n; ++i) {
    x[i * d] = static_cast<double>(i * i % 37);
    label[i] = static_cast<int32_t>(i % 3);
  }
  x[nan * d + 1] = std::nan("");
  SelfInput<double, double> in{};
  in.n = n, in.d = d, in.rows = x.data(), in.itself = true, in.scale = 1, in.workspace = 1 << 24;
  in.similarity = Similarity::kSquaredEuclidean;
  std::vector<Loss<double>::Row> rows(n);
  SelfCpu<Loss<double>, double>(in, {label.data()}).forward(rows.data());
  for (int64_t i = 0; i < n; ++i) {
    if (i == nan) continue;
    CHECK((rows[i].positive == nan) == (i % 3 == nan % 3));
    CHECK((rows[i].negative == nan) == (i % 3 != nan % 3));
  }
}

}  // namespace

int main() {
  test_nan_row();
  for (const int64_t count : {1, 2, 5, 31, 32, 33, 100, 256}) {
    for (const int classes : {1, 2, 40}) {
      for (const bool ties : {false, true}) {
        for (const int nans : {0, 1, 3}) {
          test_rows<float>(count, classes, ties, nans);
          test_rows<double>(count, classes, ties, nans);
        }
      }
    }
  }
  for (const bool nans : {false, true}) {
    test_columns<float>(1, 1, nans);
    test_columns<float>(128, 256, nans);
    test_columns<double>(33, 7, nans);
  }
  // No candidate of its label, none of another, none at all.
  const std::vector<int32_t> apart = {0, 1, 2}, alike = {4, 4, 4};
  const double s[] = {1.0, 2.0};
  using Row = Loss<double>::Row;
  const auto search = [&](const std::vector<int32_t>& label, int64_t count) -> Row {
    const Loss<double> loss{label.data()};
    return loss.finish(loss.push(s, 0, 1, count), 0);
  };
  CHECK(search(apart, 2).positive == Loss<double>::kNone && search(apart, 2).negative == 2);
  CHECK(search(alike, 2).negative == Loss<double>::kNone && search(alike, 2).positive == 1);
  CHECK(search(alike, 0).positive == Loss<double>::kNone);

  for (const int threads : {1, 3}) {
    host::thread_count = threads;
    for (const int64_t workspace : {1 << 18, 1 << 26}) {
      for (const int64_t n : {0, 1, 2, 5, 129, 1100}) test_engine(n, 0, workspace);
      test_engine(1, 1, workspace);
      test_engine(300, 1000, workspace);
      test_engine(1001, 70, workspace);
    }
  }
  return test::report();
}
