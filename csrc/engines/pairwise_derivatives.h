// ∂L/∂s of a gradient pass, each pair's factor included: what the loops of the engine multiply into
// the operands. The rows are known by now.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "core/host_device.h"
#include "engines/host.h"

namespace fastloss {

// Losses of rows: row_grad(i) is the factor of row i's gradient, row_grad.overall(rows) one of all.
template <class Loss, class RowGrad>
struct RowDerivatives {
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  static constexpr bool kOfRows = true;
  static constexpr bool kFormed = false;

  const Loss& loss;
  const Row* rows;
  const RowGrad& row_grad;

  FASTLOSS_HOST_DEVICE void of_span(int64_t row, const T* __restrict z, const T* __restrict bias,
                                    int64_t column, int64_t width, T* __restrict dscore) const {
    loss.dscores(z, bias, column, width, rows[row], row_grad(row), dscore);
  }
  FASTLOSS_HOST_DEVICE T of_target(int64_t row) const { return row_grad(row) * rows[row].dtarget; }
  // Of one of the row's own keys.
  FASTLOSS_HOST_DEVICE T of_own(int64_t row, T z) const {
    const T no_bias = 0;
    T dscore;
    loss.dscores(&z, &no_bias, -1, 1, rows[row], row_grad(row), &dscore);
    return dscore;
  }
  T overall() const { return row_grad.overall(rows); }
};

// Losses without a normaliser: the tiles hold coefficients as soon as they are made.
template <class Loss, class RowGrad>
struct FormedDerivatives {
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  static constexpr bool kOfRows = false;
  static constexpr bool kFormed = true;

  const Row* rows;
  const RowGrad& row_grad;

  FASTLOSS_HOST_DEVICE T of_target(int64_t row) const { return row_grad(row) * rows[row].dtarget; }
  T overall() const { return row_grad.overall(rows); }
};

// Symmetric losses: every score belongs to a row and to a column. Row i and column i are a pair and
// share the factor pair_grad(i).
template <class Loss, class PairGrad>
class SymmetricDerivatives {
 public:
  using T = typename Loss::Value;
  using Row = typename Loss::Row;
  static constexpr bool kOfRows = false;
  static constexpr bool kFormed = false;

  SymmetricDerivatives(const Loss& loss, const Row* rows, const Row* cols, int64_t n,
                       const PairGrad& pair_grad)
      : loss_(loss), rows_(rows), cols_(cols), n_(n), pair_grad_(pair_grad), fields_(n * kFields) {
    // Field by field, because neighbouring columns are read together.
    for (int64_t j = 0; j < n; ++j) {
      const auto values = std::bit_cast<std::array<T, kFields - 1>>(cols[j]);
      for (int64_t f = 0; f < kFields - 1; ++f) fields_[f * n + j] = values[f];
      fields_[(kFields - 1) * n + j] = pair_grad(j);
    }
  }

  FASTLOSS_HOST_DEVICE void of_span(int64_t row, const T* __restrict z, const T* __restrict bias,
                                    int64_t column, int64_t width, T* __restrict dscore) const {
    loss_.dscores(z, bias, column, width, rows_[row], pair_grad_(row), dscore);
    const T* const fields = fields_.data() + column;
    loss_.add_columns(z, fields, n_, fields + (kFields - 1) * n_, width, dscore);
  }
  FASTLOSS_HOST_DEVICE T of_target(int64_t row) const {
    return pair_grad_(row) * (rows_[row].dtarget + cols_[row].dtarget);
  }
  T overall() const { return pair_grad_.overall(rows_); }

 private:
  static constexpr int64_t kFields = sizeof(Row) / sizeof(T) + 1;

  const Loss& loss_;
  const Row* rows_;
  const Row* cols_;
  int64_t n_;
  const PairGrad& pair_grad_;
  host::Buffer<T> fields_;  // (fields of a Row and the factor, columns)
};

}  // namespace fastloss
