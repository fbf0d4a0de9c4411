// Rows in and out: factors of rows, sums of rows, the loss.
#pragma once

#include "cuda/pairwise_coefficients.cuh"

namespace fastloss::device {

// What is summed over all rows.
struct Totals {
  double loss = 0, divisor = 0;
  double moment = 0;  // Σ ∂L/∂s · z
  double slope = 0;   // Σ ∂L/∂s

  FASTLOSS_HOST_DEVICE void merge(const Totals& other) {
    loss += other.loss;
    divisor += other.divisor;
    moment += other.moment;
    slope += other.slope;
  }
};

namespace detail {

// A row without a factor costs nothing, not even where its loss is infinite.
template <class Row, class T>
FASTLOSS_DEVICE T loss_of_row(const Row* rows, const Row* cols, const T* factor, int64_t i) {
  if (factor[i] == T(0)) return T(0);
  const T value = cols != nullptr ? rows[i].value + cols[i].value : rows[i].value;
  return factor[i] * value;
}

}  // namespace detail

template <class Row, class T>
FASTLOSS_KERNEL(kBlock, 4)
void losses_of_rows(const Row* rows, const Row* cols, const T* factor, int64_t n, T* out) {
  const int64_t i = block().x * kBlock + thread();
  if (i < n) out[i] = detail::loss_of_row(rows, cols, factor, i);
}

// partial[block]: the totals of its `share` rows. `sums` may be null.
template <class Row, class State, class T>
FASTLOSS_KERNEL(kBlock, 4)
void sum_rows(const Row* rows, const Row* cols, const RowSums<State, T>* sums, const T* factor,
              const T* counted, const int64_t* target, int64_t n, int64_t share, Totals* partial) {
  FASTLOSS_SHARED(Totals, shared, kWarpsOfBlock);
  const int64_t first = block().x * share;
  const int64_t last = first + share < n ? first + share : n;
  Totals all;
  for (int64_t i = first + thread(); i < last; i += kBlock) {
    Totals row;
    row.loss = static_cast<double>(detail::loss_of_row(rows, cols, factor, i));
    const bool counts = target[i] != kIgnoredRow && rows[i].counts();
    row.divisor = counts ? static_cast<double>(counted[i]) : 0;
    if (sums != nullptr) row.moment = sums[i].moment;
    if constexpr (requires { rows->moment; }) {
      if (factor[i] != T(0)) row.moment = static_cast<double>(factor[i] * rows[i].moment);
    }
    if constexpr (requires { rows->slope; }) {
      if (factor[i] != T(0)) row.slope = static_cast<double>(factor[i] * rows[i].slope);
    }
    all.merge(row);
  }
  all = block_merge(all, shared, kWarpsOfBlock);
  if (thread() == 0) partial[block().x] = all;
}

// The numbers that are one for all: loss, factor of all gradients, gradients of scale and shift.
template <class T>
FASTLOSS_KERNEL(kWarp, 1)
void finish_totals(const Totals* partial, int64_t parts, Scalar<T> scale, bool scale_divides,
                   bool mean, T* overall, T* loss, T* dscale, T* dshift) {
  if (thread() != 0) return;
  Totals all;
  for (int64_t p = 0; p < parts; ++p) all.merge(partial[p]);
  const double divisor = mean ? all.divisor : 1;
  const double factor = divisor == 0 ? 0 : 1 / divisor;  // 0: nothing to average
  *overall = static_cast<T>(factor);
  // Nothing to average is 0, but a NaN stays: what was refused must show.
  const bool nothing = divisor == 0 && all.loss == all.loss;
  if (loss != nullptr) *loss = nothing ? T(0) : static_cast<T>(all.loss / divisor);
  if (dscale != nullptr) {
    // s = z / temperature: ∂/∂temperature = −scale² · ∂/∂scale.
    const double s = static_cast<double>(scale.get());
    *dscale = static_cast<T>(all.moment * factor * (scale_divides ? -s : 1 / s));
  }
  if (dshift != nullptr) *dshift = static_cast<T>(all.slope * factor);
}

// 2¹⁴ over the power of two above all factors: what 16-bit coefficients are multiplied by. One
// block, because rows are few beside what is read of them elsewhere.
template <class T>
FASTLOSS_KERNEL(kBlock, 1)
void find_unit_of(const T* factor, int64_t n, const T* weight, int64_t m, double unit, T* out) {
  FASTLOSS_SHARED(double, shared, kWarpsOfBlock);
  const auto largest_of = [](const T* values, int64_t count) {
    double largest = 0;
    for (int64_t i = thread(); i < count; i += kBlock) {
      const double value = static_cast<double>(values[i]);
      const double size = value < 0 ? -value : value;
      largest = size > largest && size < math::kInfinity<double> ? size : largest;
    }
    return warp_max(largest);
  };
  const double of_factor = largest_of(factor, n);
  const double of_weight = weight != nullptr ? largest_of(weight, m) : 1;
  const auto largest_of_block = [&](double value) {
    barrier();
    if (lane() == 0) shared[warp()] = value;
    barrier();
    double largest = 0;
    for (int w = 0; w < kWarpsOfBlock; ++w) largest = shared[w] > largest ? shared[w] : largest;
    return largest;
  };
  const double most = largest_of_block(of_factor) * largest_of_block(of_weight);
  if (thread() != 0) return;
  // Within the range of float, with room for sums.
  const double bounded = most > 0x1p60 ? 0x1p60 : most < 0x1p-60 ? 0x1p-60 : most;
  *out = static_cast<T>(most == 0 ? unit : unit / (2 * detail::power_below(bounded)));
}

// Values without a row or column: zeros.
template <class T>
FASTLOSS_KERNEL(kBlock, 4)
void fill(T* values, int64_t count, T value) {
  const int64_t i = block().x * kBlock + thread();
  if (i < count) values[i] = value;
}

// The one member of every sum that a gradient needs.
template <class Sums, class T>
FASTLOSS_KERNEL(kBlock, 4)
void weights_of_sums(const Sums* sums, int64_t count, T* weights) {
  const int64_t i = block().x * kBlock + thread();
  if (i < count) weights[i] = sums[i].weight;
}

template <class T>
FASTLOSS_KERNEL(kBlock, 4)
void bias_of_sums(const ColumnSums<T>* sums, int64_t count, const T* overall, T* bias) {
  const int64_t i = block().x * kBlock + thread();
  if (i < count) bias[i] = sums[i].bias * *overall;
}

}  // namespace fastloss::device
