// The row-wise engine: rows of features against the rows beside them.
//
// Row i of every operand, (n, d), or (n, h, d) of h negatives a row, makes loss i. Rows are of
// three kinds (rowwise_cpu.h), by what their functor sees:
//     a triplet           at(d_positive, d_negative) → Element, the derivative by the first; by the
//                         second it is the negative of that
//     a labelled pair     at(distance, similar) → Element
//     a labelled triplet  features (losses/labelled_triplet_loss.h)
//
// The engine guarantees: a row of weight 0 is never read; sums are in double and run in a fixed
// order. Between the passes stands one number a functor's call, the slope. The
// backward pass reads the operands again, measures them again where the slope is not 0, applies the
// upstream gradient and writes each gradient where it is returned. Forming gradients in the forward
// pass would write, read and write them once more.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "engines/values.h"

namespace fastloss {

// What the loss of row i is multiplied by for its gradient: its upstream gradient and its weight.
template <class T>
struct RowFactor {
  const T* upstream = nullptr;  // (n) or null: 1
  const T* weights = nullptr;   // (n) or null: 1
  double overall = 1;

  FASTLOSS_HOST_DEVICE double weight(int64_t row) const {
    return weights != nullptr ? static_cast<double>(weights[row]) : 1;
  }
  FASTLOSS_HOST_DEVICE double operator[](int64_t row) const {
    return weight(row) * overall * (upstream != nullptr ? static_cast<double>(upstream[row]) : 1);
  }
};

}  // namespace fastloss
