// The states of columns are those of rows of the transposed tile, and so are their derivatives.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "losses/clip_loss.h"

using namespace fastloss;

void test_columns(int64_t rows, int64_t cols, double smoothing) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(0, 5);
  const int64_t stride = cols + 3;
  std::vector<double> tile(rows * stride), zero(std::max(rows, cols), 0.0);
  for (double& s : tile) s = normal(random);
  const double inf = math::kInfinity<double>;
  tile[0] = -inf;                                                         // a masked score
  for (int64_t r = 0; r < rows; ++r) tile[r * stride + cols - 1] = -inf;  // a masked column

  using Loss = ClipLoss<double>;
  const Loss loss{{smoothing, false}};
  std::vector<Loss::State> states(cols);
  const int64_t half = rows / 2;  // in two tiles
  loss.push_columns(tile.data(), stride, half, cols, states.data());
  loss.push_columns(tile.data() + half * stride, stride, rows - half, cols, states.data());

  constexpr int64_t kFields = sizeof(Loss::Row) / sizeof(double);
  std::vector<double> fields(kFields * cols), factor(cols);
  std::vector<Loss::Row> expected(cols);
  for (int64_t j = 0; j < cols; ++j) {
    std::vector<double> column(rows);
    for (int64_t r = 0; r < rows; ++r) column[r] = tile[r * stride + j];
    expected[j] = loss.finish(loss.push(column.data(), zero.data(), 0, rows), 0.5);
    const auto row = loss.finish(states[j], 0.5);
    CHECK_CLOSE(row.value, expected[j].value, 1e-14);
    CHECK_CLOSE(row.normaliser.max, expected[j].normaliser.max, 0);
    CHECK_CLOSE(row.normaliser.inverse, expected[j].normaliser.inverse, 1e-14);
    CHECK_CLOSE(row.uniform, expected[j].uniform, 1e-14);
    CHECK_CLOSE(row.dtarget, expected[j].dtarget, 1e-14);
    const double* const numbers = &row.value;
    for (int64_t f = 0; f < kFields; ++f) fields[f * cols + j] = numbers[f];
    factor[j] = 1 + 0.1 * static_cast<double>(j);
  }
  std::vector<double> dscore(cols, 2.0);
  loss.add_columns(tile.data(), fields.data(), cols, factor.data(), cols, dscore.data());
  for (int64_t j = 0; j < cols; ++j) {
    CHECK_CLOSE(dscore[j], 2 + factor[j] * test::dscore(loss, tile[j], expected[j]), 1e-13);
  }
}

int main() {
  for (const double smoothing : {0.0, 0.2}) {
    test_columns(1, 1, smoothing);
    test_columns(128, 256, smoothing);
    test_columns(33, 7, smoothing);
  }
  return test::report();
}
