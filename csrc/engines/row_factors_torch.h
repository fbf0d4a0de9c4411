// From the values of rows to a loss: weights, upstream gradients, reductions.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <string>

#include "core/host_device.h"

namespace fastloss {

// What a row's loss and gradient are multiplied by: its weight and, in backward, its upstream
// gradient. A mean divides all by the weight of the rows that count; a symmetric loss halves.
template <class Row, class T>
struct RowFactors {
  const T* weights;
  const T* upstream;
  const T* divisors;
  int64_t n;
  bool mean;
  T half;

  FASTLOSS_HOST_DEVICE T operator()(int64_t i) const {
    return half * (weights ? weights[i] : T(1)) * (upstream ? upstream[i] : T(1));
  }
  // 0: nothing to average.
  double divisor(const Row* rows) const {
    if (!mean) return 1;
    const T* const counted = divisors ? divisors : weights;
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (rows[i].counts()) sum += counted ? static_cast<double>(counted[i]) : 1;
    }
    return sum;
  }
  T overall(const Row* rows) const {
    const double sum = divisor(rows);
    return sum == 0 ? T(0) : static_cast<T>(1 / sum);
  }
};

// The rows' values as a loss: each one ("none"), their sum or their mean.
template <class Row, class T>
at::Tensor reduced_rows(const Row* rows, const RowFactors<Row, T>& factor,
                        const std::string& reduction) {
  const auto value = [&](int64_t i) {
    return factor(i) == T(0) ? T(0) : factor(i) * rows[i].value;
  };
  constexpr auto dtype = c10::CppTypeToScalarType<T>::value;
  if (reduction == "none") {
    const at::Tensor loss = at::empty({factor.n}, dtype);
    for (int64_t i = 0; i < factor.n; ++i) loss.template data_ptr<T>()[i] = value(i);
    return loss;
  }
  double total = 0;
  for (int64_t i = 0; i < factor.n; ++i) total += static_cast<double>(value(i));
  const double divisor = factor.divisor(rows);
  const at::Tensor loss = at::empty({}, dtype);
  *loss.template data_ptr<T>() = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
  return loss;
}

}  // namespace fastloss
