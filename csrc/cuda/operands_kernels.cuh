// Kernels of operands.cuh (included by it). A warp takes a row: d is a few hundred, rows are many.
// All of them are O(n · d): one or two reads of a row, one write.
#pragma once

#include "cuda/operands.cuh"

namespace fastloss::device {

namespace detail {

// 2^⌊log₂ x⌋ of a positive, normal, finite x; its reciprocal is exact.
FASTLOSS_DEVICE double power_below(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= UINT64_C(0x7ff0000000000000);
  memcpy(&x, &bits, sizeof bits);
  return x;
}

FASTLOSS_DEVICE int64_t row_of_warp() { return block().x * kWarpsOfBlock + warp(); }

template <class S>
FASTLOSS_DEVICE double sum_of_squares(const S* row, int64_t d, double factor) {
  double sum = 0;
  for (int64_t c = lane(); c < d; c += kWarp) {
    const double value = static_cast<double>(row[c]) * factor;
    sum += value * value;
  }
  return warp_sum(sum);
}

}  // namespace detail

// Copies rows times a power of two and fills magnitude and statistic (row_statistics.h).
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void prepare_cosine(const S* rows, int64_t count, int64_t d, S* copy, int64_t stride, T* magnitude,
                    T* statistic) {
  const int64_t i = detail::row_of_warp();
  if (i >= count) {
    if (i < padded(count) && lane() == 0) statistic[i] = T(0);
    return;
  }
  const S* const row = rows + i * d;
  // Powers that T holds, with their reciprocals.
  constexpr double kLargest = std::is_same_v<T, double> ? 0x1p1000 : 0x1p120;
  double power = 1, norm = 0;
  double sum = detail::sum_of_squares(row, d, 1.0);
  if (sum > 1e-280 && sum < 1e280) {
    norm = std::sqrt(sum);
    power = detail::power_below(norm);
  } else {
    double largest = 0;
    for (int64_t c = lane(); c < d; c += kWarp) {
      const double value = static_cast<double>(row[c]);
      const double size = value < 0 ? -value : value;
      largest = size > largest ? size : largest;
    }
    largest = warp_max(largest);
    // Nothing to scale in a row of zeros, NaN or infinities.
    if (largest > 0 && largest <= 1.7976931348623157e308 && sum == sum) {
      power = largest < 1e-300 ? 1e-300 : detail::power_below(largest);
    }
    power = detail::power_below(power);
  }
  power = power > kLargest ? kLargest : power < 1 / kLargest ? 1 / kLargest : power;
  if (norm == 0) {
    sum = detail::sum_of_squares(row, d, 1 / power);
    norm = std::sqrt(sum) * power;
  }
  // A sum of squares of the scaled row that is 0 or infinite says so of its inverse.
  if (lane() == 0) {
    magnitude[i] = static_cast<T>(1 / power);
    statistic[i] = norm == 0 ? T(0) : static_cast<T>(power / norm);
  }
  const T factor = static_cast<T>(1 / power);
  for (int64_t c = lane(); c < d; c += kWarp) {
    copy[i * stride + c] = round_to<S>(static_cast<T>(row[c]) * factor);
  }
}

// Copies rows less the centre and fills their squared norms.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void prepare_distance(const S* rows, int64_t count, int64_t d, const T* centre, T* copy,
                      int64_t stride, T* statistic) {
  const int64_t i = detail::row_of_warp();
  if (i >= count) {
    if (i < padded(count) && lane() == 0) statistic[i] = T(0);
    return;
  }
  T sum = 0;
  for (int64_t c = lane(); c < d; c += kWarp) {
    const T value = static_cast<T>(rows[i * d + c]) - centre[c];
    copy[i * stride + c] = value;
    sum += value * value;
  }
  sum = warp_sum(sum);
  if (lane() == 0) statistic[i] = sum;
}

// Sums of features over groups of rows, partial[group][d]: a thread owns a feature.
template <class S>
FASTLOSS_KERNEL(128, 4)
void sum_features(const S* rows, int64_t count, int64_t d, int64_t group, double* partial) {
  const int64_t c = block().x * 128 + thread();
  if (c >= d) return;
  const int64_t first = block().y * group;
  const int64_t last = first + group < count ? first + group : count;
  double sum = 0;
  for (int64_t i = first; i < last; ++i) sum += static_cast<double>(rows[i * d + c]);
  partial[block().y * d + c] = sum;
}

template <class T>
FASTLOSS_KERNEL(128, 4)
void mean_of_features(const double* partial, int64_t groups, int64_t count, int64_t d, T* centre) {
  const int64_t c = block().x * 128 + thread();
  if (c >= d) return;
  double sum = 0;
  for (int64_t g = 0; g < groups; ++g) sum += partial[g * d + c];
  const T mean = static_cast<T>(sum / static_cast<double>(count));
  // Any centre is right: one that a single row can spoil would make all distances NaN.
  const T size = mean < T(0) ? -mean : mean;
  centre[c] = size < math::kInfinity<T> ? mean : T(0);
}

// From Σ w · (other rows) to a row's gradient (operands.cuh), in place.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void finish_rows_of_gradient(Similarity kind, Scalar<T> scale, const T* overall, Scalar<T> unit,
                             Side<S, T> side, const T* sums, T* gradient) {
  const int64_t i = detail::row_of_warp();
  if (i >= side.count) return;
  T* const row = gradient + i * side.d;
  T along = 0, factor = *overall;
  if (is_distance(kind)) {
    along = sums[i];
  } else {
    factor *= scale.get() / unit.get();
    if (kind == Similarity::kCosine) {
      for (int64_t c = lane(); c < side.d; c += kWarp) along += row[c] * side.feature(i, c);
      along = warp_sum(along);
      const T inverse = side.statistic[i];
      along *= inverse * inverse;
      factor *= side.magnitude[i];
    }
  }
  if (kind == Similarity::kDot) {
    for (int64_t c = lane(); c < side.d; c += kWarp) row[c] *= factor;
  } else {
    for (int64_t c = lane(); c < side.d; c += kWarp) {
      row[c] = factor * (row[c] - along * side.feature(i, c));
    }
  }
}

template <class S, class T>
Operands<S, T>::Operands(Runtime& runtime, Similarity kind, const S* query, int64_t n, const S* key,
                         int64_t m, int64_t d)
    : runtime_(runtime),
      query_copy_(runtime, copy_bytes(kind, n, d)),
      key_copy_(runtime, copy_bytes(kind, m, d)),
      query_statistic_(runtime, kind == Similarity::kDot ? 0 : padded(n)),
      key_statistic_(runtime, kind == Similarity::kDot ? 0 : padded(m)),
      query_magnitude_(runtime, kind == Similarity::kCosine ? n : 0),
      key_magnitude_(runtime, kind == Similarity::kCosine ? m : 0),
      centre_(runtime, is_distance(kind) ? d : 0),
      query_{query, n, d, nullptr, nullptr, nullptr, {query, kStored<S>, n, d, d}},
      key_{key, m, d, nullptr, nullptr, nullptr, {key, kStored<S>, m, d, d}} {
  if (kind == Similarity::kDot) return;
  if (is_distance(kind)) find_centre(key, m, d);
  prepare(kind, query_, query_copy_, query_statistic_, query_magnitude_);
  prepare(kind, key_, key_copy_, key_statistic_, key_magnitude_);
}

template <class S, class T>
void Operands<S, T>::prepare(Similarity kind, Side<S, T>& side, const Buffer<Copied>& copy,
                             const Buffer<T>& statistic, const Buffer<T>& magnitude) {
  const Grid grid{cover(padded(side.count), kWarpsOfBlock)};
  side.statistic = statistic.data();
  side.multiplied.data = copy.data();
  side.multiplied.stride = stride(kind, side.d);
  if (is_distance(kind)) {
    side.multiplied.type = kStored<T>;
    side.centre = centre_.data();
    launch(prepare_distance<S, T>, grid, kBlock, runtime_.queue(), side.stored, side.count, side.d,
           centre_.data(), reinterpret_cast<T*>(copy.data()), side.multiplied.stride,
           statistic.data());
  } else {
    side.magnitude = magnitude.data();
    launch(prepare_cosine<S, T>, grid, kBlock, runtime_.queue(), side.stored, side.count, side.d,
           reinterpret_cast<S*>(copy.data()), side.multiplied.stride, magnitude.data(),
           statistic.data());
  }
}

template <class S, class T>
void Operands<S, T>::find_centre(const S* key, int64_t m, int64_t d) {
  const int64_t group = m < 256 * 64 ? 64 : cover(m, 256);
  const int64_t groups = cover(m, group);
  const Buffer<double> partial(runtime_, groups * d);
  launch(sum_features<S>, Grid{cover(d, 128), groups}, 128, runtime_.queue(), key, m, d, group,
         partial.data());
  launch(mean_of_features<T>, Grid{cover(d, 128)}, 128, runtime_.queue(), partial.data(), groups, m,
         d, centre_.data());
}

template <class S, class T>
void finish_gradient(Runtime& runtime, Similarity kind, Scalar<T> scale, const T* overall,
                     Scalar<T> unit, const Side<S, T>& side, const T* sums, T* gradient) {
  launch(finish_rows_of_gradient<S, T>, Grid{cover(side.count, kWarpsOfBlock)}, kBlock,
         runtime.queue(), kind, scale, overall, unit, side, sums, gradient);
}

}  // namespace fastloss::device
