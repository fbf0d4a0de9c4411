// The states of columns are those of rows of the transposed tile, and so are their derivatives;
// what a row's loss is, test_info_nce.cpp tests.
#include <random>
#include <vector>

#include "check.h"
#include "losses/nt_xent.h"

using namespace fastloss;

void test_columns(int64_t rows, int64_t cols, bool decoupled) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal(0, 5);
  const int64_t stride = cols + 3;
  std::vector<double> tile(rows * stride);
  for (double& s : tile) s = normal(random);
  tile[0] = -math::kInfinity<double>;
  for (int64_t r = 0; r < rows; ++r) tile[r * stride + cols - 1] = -math::kInfinity<double>;

  using Loss = NtXent<double>;
  const double options[] = {decoupled ? 1.0 : 0.0};
  const Loss loss = Loss::make(options, nullptr);
  std::vector<Loss::State> states(cols);
  const int64_t half = rows / 2;  // in two tiles
  loss.push_columns(tile.data(), stride, half, cols, 0, 0, states.data());
  loss.push_columns(tile.data() + half * stride, stride, rows - half, cols, half, 0, states.data());

  constexpr int64_t kFields = sizeof(Loss::Row) / sizeof(double);
  std::vector<double> fields(kFields * cols), factor(cols), out(cols, 2.0), expected(cols);
  for (int64_t j = 0; j < cols; ++j) {
    std::vector<double> column(rows);
    for (int64_t r = 0; r < rows; ++r) column[r] = tile[r * stride + j];
    const auto row = loss.finish(loss.push(column.data(), j, 0, rows), 0.5);
    const auto of_column = loss.finish(states[j], 0.5);
    const double *const a = &of_column.value, *const b = &row.value;
    for (int64_t f = 0; f < kFields; ++f) {
      CHECK_CLOSE(a[f], b[f], 1e-14);
      fields[f * cols + j] = a[f];
    }
    factor[j] = 1 + 0.1 * static_cast<double>(j);
    double dscore;
    loss.dscores(&tile[j], j, 0, 1, row, factor[j], &dscore);
    expected[j] = 2 + dscore;
  }
  loss.add_columns(tile.data(), 0, 0, cols, fields.data(), cols, factor.data(), out.data());
  for (int64_t j = 0; j < cols; ++j) CHECK_CLOSE(out[j], expected[j], 1e-13);
}

int main() {
  for (const bool decoupled : {false, true}) {
    test_columns(1, 1, decoupled);
    test_columns(128, 256, decoupled);
    test_columns(33, 7, decoupled);
  }
  return test::report();
}
