// Rows' own negatives. Their products are as long as the memory they read, so no library is asked:
// a warp takes a product, or a row. Expected: two reads of the negatives for loss and gradients.
#pragma once

#include "cuda/pairwise_coefficients.cuh"

namespace fastloss::device {

// z of every own negative, and its inverse norm (cosine; 1 otherwise).
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void own_similarities(Scores<S, T> scores, const S* negatives, int64_t h, T* z, T* norm) {
  const int64_t at = detail::row_of_warp();
  if (at >= scores.query.count * h) return;
  const int64_t row = at / h, d = scores.query.d;
  const S* const query = scores.query.stored + row * d;
  const S* const key = negatives + at * d;
  const bool distance = is_distance(scores.kind);
  const T magnitude = scores.query.magnitude != nullptr ? scores.query.magnitude[row] : T(1);
  double product = 0, squares = 0;
  T square = 0;
  for (int64_t c = lane(); c < d; c += kWarp) {
    const T x = static_cast<T>(query[c]), y = static_cast<T>(key[c]);
    if (distance) {
      square += (x - y) * (x - y);
    } else {
      product += static_cast<double>(x * magnitude) * static_cast<double>(y);
      squares += static_cast<double>(y) * static_cast<double>(y);
    }
  }
  if (distance) {
    square = warp_sum(square);
  } else {
    product = warp_sum(product);
    squares = warp_sum(squares);
  }
  if (lane() != 0) return;
  const bool cosine = scores.kind == Similarity::kCosine;
  const double inverse = !cosine ? 1 : squares == 0 ? 0 : 1 / std::sqrt(squares);
  norm[at] = static_cast<T>(inverse);
  z[at] = scaled_similarity(scores.kind, scores.scale.get(), static_cast<T>(product * inverse),
                            distance ? T(1) : scores.query.statistic_of(row), T(1), square);
}

// The states of rows' own negatives.
template <class Loss, class T = typename Loss::Value>
FASTLOSS_KERNEL(kBlock, (sizeof(T) == 8 ? 3 : 4))  // more would spill doubles
void own_states(DeviceLoss<Loss> functor, const T* z, int64_t n, int64_t h,
                typename Loss::State* states) {
  const int64_t row = detail::row_of_warp();
  if (row >= n) return;
  const Loss loss = functor.get();
  const T no_bias[kSpan] = {};
  typename Loss::State state;
  for (int64_t k = lane() * kSpan; k < h; k += kWarp * kSpan) {
    T span[kSpan];
    load_ragged(z + row * h, k, h, -math::kInfinity<T>, span);
    state.merge(loss.push(span, no_bias, -1, kSpan));
  }
  state = warp_merge(state);
  if (lane() == 0) states[row] = state;
}

// z becomes w, a row's sums, if wanted, take what its own negatives add, and `own`, if wanted, the
// form in which their gradients are returned, but for what all gradients are multiplied by.
template <class Loss, class S, class T = typename Loss::Value>
FASTLOSS_KERNEL(kBlock, 4)
void own_coefficients(Scores<S, T> scores, RowRule<Loss> rule, int64_t h, T* z, const T* norm,
                      RowSums<typename Loss::State, T>* sums, T* own) {
  const int64_t row = detail::row_of_warp();
  if (row >= scores.query.count) return;
  const auto of = rule.of(row);
  const bool distance = is_distance(scores.kind);
  const bool cosine = scores.kind == Similarity::kCosine;
  const T unit = distance ? T(1) : scores.query.statistic_of(row);
  const T magnitude = scores.query.magnitude != nullptr ? scores.query.magnitude[row] : T(1);
  const T scale = scores.scale.get(), no_bias = 0;
  double moment = 0;
  for (int64_t k = lane(); k < h; k += kWarp) {
    const int64_t at = row * h + k;
    const T similarity = z[at];
    T dscore;
    of.loss.dscores(&similarity, &no_bias, -1, 1, of.row, of.factor, &dscore);
    const T w = coefficient(scores.kind, scale, similarity, unit * norm[at], dscore);
    if (dscore != T(0)) moment += static_cast<double>(dscore * similarity);
    z[at] = w;
    if (own != nullptr) {
      const T factor = unit * magnitude;
      own[2 * at] = w * magnitude;
      own[2 * at + 1] = distance                    ? T(1)
                        : !cosine || factor == T(0) ? T(0)
                                                    : similarity * norm[at] / (scale * factor);
    }
  }
  moment = warp_sum(moment);
  if (lane() == 0 && sums != nullptr) sums[row].moment += moment;
}

// Adds w · (own negatives) to the query gradient, which is times `unit`, and multiplies `own`.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void add_own(Scores<S, T> scores, const S* negatives, int64_t h, const T* w, const T* overall,
             Scalar<T> unit, T* gradient, T* own) {
  const int64_t row = detail::row_of_warp();
  if (row >= scores.query.count) return;
  const int64_t d = scores.query.d;
  const bool distance = is_distance(scores.kind);
  const S* const query = scores.query.stored + row * d;
  for (int64_t c = lane(); gradient != nullptr && c < d; c += kWarp) {
    // For distances the difference itself: nothing cancels when the rows share an offset.
    const T from = distance ? static_cast<T>(query[c]) : T(0);
    T sum = 0;
    for (int64_t k = 0; k < h; ++k) {
      const int64_t at = row * h + k;
      sum += w[at] * (static_cast<T>(negatives[at * d + c]) - from);
    }
    gradient[row * d + c] += sum * unit.get();
  }
  if (own == nullptr) return;
  const T factor = distance ? *overall : scores.scale.get() * *overall;
  for (int64_t k = lane(); k < h; k += kWarp) own[2 * (row * h + k)] *= factor;
}

}  // namespace fastloss::device
