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

// The numbers of `count` rows and each one's factor field by field, because neighbouring columns
// are read together: field f of column j is at(j)[f · count].
template <class Row, class T>
class RowFields {
 public:
  template <class Factor>
  RowFields(const Row* rows, int64_t count, const Factor& factor)
      : count_(count), fields_((kFields + 1) * count) {
    for (int64_t j = 0; j < count; ++j) {
      const auto values = std::bit_cast<std::array<T, kFields>>(rows[j]);
      for (int64_t f = 0; f < kFields; ++f) fields_[f * count + j] = values[f];
      fields_[kFields * count + j] = factor(j);
    }
  }

  FASTLOSS_HOST_DEVICE const T* at(int64_t column) const { return fields_.data() + column; }
  FASTLOSS_HOST_DEVICE const T* factor(int64_t column) const {
    return fields_.data() + kFields * count_ + column;
  }

 private:
  static constexpr int64_t kFields = sizeof(Row) / sizeof(T);

  int64_t count_;
  host::Buffer<T> fields_;
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
      : loss_(loss),
        rows_(rows),
        cols_(cols),
        n_(n),
        pair_grad_(pair_grad),
        fields_(cols, n, pair_grad) {}

  FASTLOSS_HOST_DEVICE void of_span(int64_t row, const T* __restrict z, const T* __restrict bias,
                                    int64_t column, int64_t width, T* __restrict dscore) const {
    loss_.dscores(z, bias, column, width, rows_[row], pair_grad_(row), dscore);
    loss_.add_columns(z, fields_.at(column), n_, fields_.factor(column), width, dscore);
  }
  FASTLOSS_HOST_DEVICE T of_target(int64_t row) const {
    return pair_grad_(row) * (rows_[row].dtarget + cols_[row].dtarget);
  }
  T overall() const { return pair_grad_.overall(rows_); }

 private:
  const Loss& loss_;
  const Row* rows_;
  const Row* cols_;
  int64_t n_;
  const PairGrad& pair_grad_;
  RowFields<Row, T> fields_;
};

}  // namespace fastloss
