// SupCon of one row against its definition: value, derivative by dual numbers, the columns of a
// tile as its rows, and losses that are small.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/sup_con.h"

using namespace fastloss;
using test::Dual;

namespace {

using Loss = SupCon<double>;
constexpr double kMasked = -math::kInfinity<double>;

// log Σ exp s − mean of the positives, row 0 and candidates 1, 2, … of `label`.
Dual definition(const std::vector<Dual>& s, const std::vector<int32_t>& label) {
  Dual sum = 0.0, positives = 0.0;
  double count = 0;
  for (size_t j = 0; j < s.size(); ++j) {
    if (s[j] == Dual(kMasked)) continue;
    sum += exp(s[j]);
    if (label[j + 1] != label[0]) continue;
    positives += s[j];
    count += 1;
  }
  return count == 0 ? Dual(0.0) : log(sum) - positives / Dual(count);
}

// The functor's own value as a function of the scores: state by hand, since spans need real types.
Dual functor_value(const std::vector<Dual>& s, const std::vector<int32_t>& label) {
  SupCon<Dual>::State state;
  for (const Dual& score : s) state.max = score > state.max ? Dual(score.value) : state.max;
  for (size_t j = 0; j < s.size(); ++j) {
    if (s[j] == Dual(kMasked)) continue;
    const bool positive = label[j + 1] == label[0];
    (positive ? state.positives : state.others) += exp(s[j] - state.max);
    if (!positive) continue;
    state.gap += state.max - s[j];
    state.count += 1.0;
  }
  return SupCon<Dual>::finish(state, 0.0).value;
}

void test_row(const std::vector<double>& s, const std::vector<int32_t>& label) {
  const Loss loss{label.data()};
  const auto count = static_cast<int64_t>(s.size());
  const auto row = loss.finish(loss.push(s.data(), 0, 1, count), 0);
  const std::vector<Dual> constant(s.begin(), s.end());
  CHECK_CLOSE(row.value, definition(constant, label).value, 1e-13);
  std::vector<double> out(count);
  loss.dscores(s.data(), 0, 1, count, row, 2.0, out.data());
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    sum += out[j];
    if (s[j] == kMasked) {
      CHECK(out[j] == 0);
      continue;
    }
    auto moved = constant;
    moved[j].derivative = 1;
    CHECK_CLOSE(out[j], 2 * definition(moved, label).derivative, 1e-13);
    CHECK_CLOSE(out[j], 2 * functor_value(moved, label).derivative, 1e-13);
  }
  CHECK_CLOSE(sum, 0, 1e-13);  // a shift of all scores changes nothing

  // In two spans, one of them perhaps empty or without a positive.
  for (const int64_t split : {int64_t{0}, count / 2, count}) {
    auto state = loss.push(s.data(), 0, 1, split);
    state.merge(loss.push(s.data() + split, 0, 1 + split, count - split));
    const auto merged = loss.finish(state, 0);
    CHECK_CLOSE(merged.value, row.value, 1e-13);
    CHECK_CLOSE(merged.share, row.share, 1e-13);
    CHECK_CLOSE(merged.mean, row.mean, 1e-13);
    CHECK_CLOSE(merged.inverse, row.inverse, 1e-13);
  }
}

void test_columns(int64_t rows, int64_t cols) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(0, 5);
  const int64_t stride = cols + 3;
  std::vector<double> tile(rows * stride);
  for (double& s : tile) s = normal(random);
  tile[0] = kMasked;
  for (int64_t r = 0; r < rows; ++r) tile[r * stride + cols - 1] = kMasked;
  // Candidates are rows, then columns.
  std::vector<int32_t> label(rows + cols);
  for (int32_t& l : label) l = static_cast<int32_t>(random() % 3);
  const Loss loss{label.data()};
  std::vector<Loss::State> states(cols);
  const int64_t half = rows / 2;  // in two tiles
  loss.push_columns(tile.data(), stride, half, cols, 0, rows, states.data());
  loss.push_columns(tile.data() + half * stride, stride, rows - half, cols, half, rows,
                    states.data());

  constexpr int64_t kFields = sizeof(Loss::Row) / sizeof(double);
  std::vector<double> fields(kFields * cols), factor(cols), out(cols, 2.0), expected(cols);
  for (int64_t j = 0; j < cols; ++j) {
    std::vector<double> column(rows);
    for (int64_t r = 0; r < rows; ++r) column[r] = tile[r * stride + j];
    const auto row = loss.finish(loss.push(column.data(), rows + j, 0, rows), 0);
    const auto of_column = loss.finish(states[j], 0);
    const double *const a = &of_column.value, *const b = &row.value;
    for (int64_t f = 0; f < kFields; ++f) {
      CHECK_CLOSE(a[f], b[f], 1e-14);
      fields[f * cols + j] = a[f];
    }
    factor[j] = 1 + 0.1 * static_cast<double>(j);
    double dscore;
    loss.dscores(&tile[j], rows + j, 0, 1, row, factor[j], &dscore);
    expected[j] = 2 + dscore;
  }
  loss.add_columns(tile.data(), 0, rows, cols, fields.data(), cols, factor.data(), out.data());
  for (int64_t j = 0; j < cols; ++j) CHECK_CLOSE(out[j], expected[j], 1e-13);
}

void test_small_losses() {
  // One positive far above the others: lse − s_p would have no digit left in float.
  const std::vector<int32_t> label = {0, 1, 0, 1};
  const std::vector<float> s = {80.0f, 100.0f, 79.0f};
  const SupCon<float> loss{label.data()};
  auto state = loss.push(s.data(), 0, 1, 1);
  state.merge(loss.push(s.data() + 1, 0, 2, 2));
  const auto row = loss.finish(state, 0);
  const double rest = std::exp(-20.0) + std::exp(-21.0), exact = std::log1p(rest);
  CHECK(std::abs(row.value / exact - 1) < 1e-6);
  float out[3];
  loss.dscores(s.data(), 0, 1, 3, row, 1, out);
  CHECK(std::abs(out[1] / (-rest / (1 + rest)) - 1) < 1e-6);
  CHECK(std::abs(out[0] / (std::exp(-20.0) / (1 + rest)) - 1) < 1e-6);
}

}  // namespace

int main() {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 3);
  for (const int count : {1, 2, 5, 40}) {
    std::vector<double> s(count);
    std::vector<int32_t> label(count + 1);
    for (double& x : s) x = normal(random);
    for (int32_t& l : label) l = static_cast<int32_t>(random() % 2);
    test_row(s, label);
    test_row(s, std::vector<int32_t>(count + 1, 4));  // positives only
    if (count > 1) {
      s[count / 2] = kMasked;
      test_row(s, label);
      test_row(s, std::vector<int32_t>(count + 1, 4));
    }
  }
  test_columns(1, 1);
  test_columns(128, 256);
  test_columns(33, 7);
  test_small_losses();

  // No positive: nothing to average.
  const std::vector<int32_t> apart = {0, 1, 2};
  const double s[] = {1.0, 2.0};
  const Loss loss{apart.data()};
  for (const auto& row : {loss.finish(loss.push(s, 0, 1, 2), 0), loss.finish({}, 0)}) {
    CHECK(!row.counts() && row.value == 0);
    double out[2];
    loss.dscores(s, 0, 1, 2, row, 1.0, out);
    CHECK(out[0] == 0 && out[1] == 0);
  }
  const std::vector<int32_t> alike = {0, 0, 0};
  const double nan[] = {1.0, std::nan("")};
  const auto row = Loss{alike.data()}.finish(Loss{alike.data()}.push(nan, 0, 1, 2), 0);
  CHECK(std::isnan(row.value) && row.counts());
  return test::report();
}
