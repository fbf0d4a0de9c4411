// Batch-hard triplets on the device: the choice by half of the tiles (self.cuh), then losses and
// gradients of the chosen rows, O(n · d) (CPU: engines/chosen_triplets.h).
//
// A warp takes an anchor: it measures the two distances, with sums in double. For gradients it
// leaves of each pair the numbers that make its derivative a sum of two rows, and a block takes one
// row of the result: what the anchor does to itself, then what those that have chosen it do to it,
// in the order of anchors. Nothing is added to from two sides.
#pragma once

#include <cstdint>

#include "cuda/batch_hard_run.h"
#include "cuda/self.cuh"
#include "losses/batch_hard_triplet_loss.h"
#include "losses/triplet_margin_loss.h"

namespace fastloss::device {

// The derivative of a distance D, times what the loss asks of it. Differences are formed before
// anything is multiplied: an offset common to all rows costs no digit.
//     distances   ∂x += slope · (x − y)               ∂y −= slope · (x − y)
//     dot         ∂x += slope · y                     ∂y += slope · x
//     cosine      ∂x += slope · u (v y − c u x)       ∂y += slope · v (u x − c v y)
struct ChosenPair {
  double slope = 0;
  double u = 0, v = 0, cosine = 0;
};

namespace detail {

// A pair as it is measured; `inverse` of a distance is 1 / D, or 0.
struct Measured {
  double distance = 0, inverse = 0, u = 0, v = 0, cosine = 0;
};

FASTLOSS_DEVICE double inverse_root(double square) {
  return square > 0 ? 1 / std::sqrt(square) : square;
}

// Powers of two bring what double cannot square near 1.
FASTLOSS_DEVICE bool is_square(double sum) { return sum > 0x1p-900 && sum < 0x1p900; }
FASTLOSS_DEVICE double unit_of(double largest) {
  return largest > 0x1p-1000 && largest < math::kInfinity<double> ? 1 / power_below(largest) : 1;
}

template <class Value>
FASTLOSS_DEVICE double largest_of(int64_t d, const Value& value) {
  double largest = 0;
  for (int64_t c = lane(); c < d; c += kWarp) {
    const double x = value(c), size = x < 0 ? -x : x;
    largest = size > largest ? size : largest;
  }
  return warp_max(largest);
}

// The square of a vector's length in units, and what one is.
struct Square {
  double sum, unit;
};
template <class Value>
FASTLOSS_DEVICE Square square_of(int64_t d, const Value& value) {
  double sum = 0, unit = 1;
  for (int64_t c = lane(); c < d; c += kWarp) sum += value(c) * value(c);
  sum = warp_sum(sum);
  if (!is_square(sum)) {
    unit = unit_of(largest_of(d, value));
    sum = 0;
    for (int64_t c = lane(); c < d; c += kWarp) sum += value(c) * unit * (value(c) * unit);
    sum = warp_sum(sum);
  }
  return {sum, unit};
}

template <class S, class T>
FASTLOSS_DEVICE Measured measure(Similarity kind, const S* x, const S* y, int64_t d) {
  const auto of = [](const S* row) {
    return [row](int64_t c) { return static_cast<double>(static_cast<T>(row[c])); };
  };
  const auto a = of(x), b = of(y);
  Measured pair;
  if (is_distance(kind)) {
    const Square square = square_of(d, [=](int64_t c) {
      return static_cast<double>(static_cast<T>(x[c]) - static_cast<T>(y[c]));
    });
    pair.distance = std::sqrt(square.sum) / square.unit;
    pair.inverse = inverse_root(square.sum) * square.unit;
    if (kind == Similarity::kSquaredEuclidean) {
      pair.distance = square.sum / square.unit / square.unit;
    }
    return pair;
  }
  Square xx{0, 1}, yy{0, 1};
  if (kind == Similarity::kCosine) {
    xx = square_of(d, a);
    yy = square_of(d, b);
  }
  double xy = 0;
  for (int64_t c = lane(); c < d; c += kWarp) xy += a(c) * xx.unit * (b(c) * yy.unit);
  xy = warp_sum(xy);
  if (kind == Similarity::kDot) {
    pair.distance = -xy;
    return pair;
  }
  pair.cosine = xy * inverse_root(xx.sum) * inverse_root(yy.sum);
  pair.u = inverse_root(xx.sum) * xx.unit;
  pair.v = inverse_root(yy.sum) * yy.unit;
  pair.distance = 1 - pair.cosine;
  return pair;
}

FASTLOSS_DEVICE ChosenPair derivative(Similarity kind, const Measured& pair, double factor) {
  switch (kind) {
    case Similarity::kEuclidean:
      return {factor * pair.inverse};
    case Similarity::kSquaredEuclidean:
      return {2 * factor};
    case Similarity::kCosine:
      return {-factor, pair.u, pair.v, pair.cosine};
    case Similarity::kDot:
      break;
  }
  return {-factor};
}

// Whether a candidate is one: what the caller has saved is not trusted with memory.
FASTLOSS_DEVICE bool is_candidate(int64_t j, int64_t m) { return j >= 0 && j < m; }

}  // namespace detail

// Candidates as the caller counts them; `first` is the place of candidate 0 in the engine's count.
template <class T>
FASTLOSS_KERNEL(kBlock, 4)
void places_of_choices(const typename BatchHardTripletLoss<T>::Row* rows, int64_t n, int64_t first,
                       int64_t* choices) {
  const int64_t i = block().x * kBlock + thread();
  if (i >= n) return;
  const auto place = [=](int64_t candidate) {
    return candidate == BatchHardTripletLoss<T>::kNone ? -1 : candidate - first;
  };
  choices[2 * i] = place(rows[i].positive);
  choices[2 * i + 1] = place(rows[i].negative);
}

// Each anchor's loss; with `pairs` (2n), what its gradients need, not yet times the overall factor.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 2)
void losses_of_choices(ChosenOnDevice<S, T> in, T* losses, ChosenPair* pairs) {
  const int64_t i = detail::row_of_warp();
  if (i >= in.n) return;
  const int64_t positive = in.choices[2 * i], negative = in.choices[2 * i + 1];
  const bool has_positive = detail::is_candidate(positive, in.m);
  const bool counts = detail::is_candidate(negative, in.m) && (in.all_anchors || has_positive);
  const S* const x = in.anchors + i * in.d;
  detail::Measured near, far;
  Element<double> of{0, 0};
  if (counts) {
    if (has_positive) {
      near = detail::measure<S, T>(in.similarity, x, in.candidates + positive * in.d, in.d);
    }
    far = detail::measure<S, T>(in.similarity, x, in.candidates + negative * in.d, in.d);
    of = in.loss.at(near.distance, far.distance);
  }
  if (lane() != 0) return;
  if (losses != nullptr) losses[i] = static_cast<T>(of.value);
  if (pairs == nullptr) return;
  const double upstream = static_cast<double>(in.upstream[in.one_upstream ? 0 : i]);
  const double slope = counts ? of.derivative * upstream : 0;
  pairs[2 * i] = has_positive ? detail::derivative(in.similarity, near, slope) : ChosenPair{};
  pairs[2 * i + 1] = counts ? detail::derivative(in.similarity, far, -slope) : ChosenPair{};
}

// Sum and number of the losses: partial[block] of its `share` anchors.
template <class S, class T>
FASTLOSS_KERNEL(kBlock, 4)
void sum_choices(ChosenOnDevice<S, T> in, const T* losses, int64_t share, Totals* partial) {
  FASTLOSS_SHARED(Totals, shared, kWarpsOfBlock);
  const int64_t first = block().x * share;
  const int64_t last = first + share < in.n ? first + share : in.n;
  Totals all;
  for (int64_t i = first + thread(); i < last; i += kBlock) {
    if (losses != nullptr) all.loss += static_cast<double>(losses[i]);
    const bool counts = detail::is_candidate(in.choices[2 * i + 1], in.m) &&
                        detail::is_candidate(in.choices[2 * i], in.m);
    all.divisor += in.all_anchors || counts ? 1 : 0;
  }
  all = block_merge(all, shared, kWarpsOfBlock);
  if (thread() == 0) partial[block().x] = all;
}

constexpr int kChosenThreads = 128, kChosenWarps = kChosenThreads / kWarp;
constexpr int kFeatures = 2 * kWarp;  // of a block: two a lane

// One row of a gradient, kFeatures of it. Warps share the choosers, one after the other each; what
// they have is added in order. Blocks: rows × features.
template <class S, class T>
FASTLOSS_KERNEL(kChosenThreads, 8)
void gradient_of_choices(ChosenOnDevice<S, T> in, const ChosenPair* pairs, const T* overall,
                         const int64_t* begin, const int64_t* choosers, bool of_anchors,
                         bool of_candidates, S* out) {
  FASTLOSS_SHARED(double, parts, kChosenWarps* kFeatures);
  const int64_t j = block().x, c0 = block().y * kFeatures + lane();
  double sum[2] = {0, 0};
  const auto value = [&](const S* rows, int64_t row, int64_t c) {
    return static_cast<T>(rows[row * in.d + c]);
  };
  // Adds the derivative of a pair by its first row x, or by its second one y.
  const auto add = [&](const ChosenPair& pair, int64_t anchor, int64_t candidate, bool first) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int64_t c = c0 + e * kWarp;
      if (c >= in.d) continue;
      const T x = value(in.anchors, anchor, c), y = value(in.candidates, candidate, c);
      double of = 0;
      if (is_distance(in.similarity)) {
        of = first ? static_cast<double>(x - y) : static_cast<double>(y - x);
      } else if (in.similarity == Similarity::kDot) {
        of = static_cast<double>(first ? y : x);
      } else {
        const double a = static_cast<double>(x) * pair.u, b = static_cast<double>(y) * pair.v;
        of = first ? pair.u * (b - pair.cosine * a) : pair.v * (a - pair.cosine * b);
      }
      sum[e] += pair.slope * of;
    }
  };
  if (of_anchors && warp() == 0) {
#pragma unroll 1
    for (int64_t p = 2 * j; p < 2 * j + 2; ++p) {
      const int64_t candidate = in.choices[p];
      if (!detail::is_candidate(candidate, in.m) || pairs[p].slope == 0) continue;
      add(pairs[p], j, candidate, true);
    }
  }
  if (of_candidates) {
#pragma unroll 1
    for (int64_t k = begin[j] + warp(); k < begin[j + 1]; k += kChosenWarps) {
      const int64_t p = choosers[k];
      if (pairs[p].slope != 0) add(pairs[p], p / 2, j, false);
    }
  }
#pragma unroll
  for (int e = 0; e < 2; ++e) parts[warp() * kFeatures + lane() + e * kWarp] = sum[e];
  barrier();
  const int64_t c = block().y * kFeatures + thread();
  if (thread() >= kFeatures || c >= in.d) return;
  double all = 0;
  for (int w = 0; w < kChosenWarps; ++w) all += parts[w * kFeatures + thread()];
  out[j * in.d + c] = round_to<S>(static_cast<T>(all * static_cast<double>(*overall)));
}

template <class S, class T>
void hardest(Runtime& runtime, const SelfOnDevice<S, T>& in, const int32_t* label,
             int64_t* choices) {
  using Loss = BatchHardTripletLoss<T>;
  const Buffer<typename Loss::Row> rows(runtime, in.n);
  SelfCuda<Loss, S>(runtime, in, Loss{label}).forward(rows.data());
  launch(places_of_choices<T>, Grid{cover(in.n, kBlock)}, kBlock, runtime.queue(), rows.data(),
         in.n, in.itself ? int64_t{0} : in.n, choices);
}

namespace detail {

// Factor of all anchors and, where wanted, their loss.
template <class S, class T>
void reduce_choices(Runtime& runtime, const ChosenOnDevice<S, T>& in, const T* losses, T* overall,
                    T* loss) {
  const int64_t share = cover(cover(in.n, 256) + 1, kBlock) * kBlock;
  const int64_t parts = cover(in.n, share) + (in.n == 0);
  const Buffer<Totals> partial(runtime, parts);
  launch(sum_choices<S, T>, Grid{parts}, kBlock, runtime.queue(), in, losses, share,
         partial.data());
  launch(finish_totals<T>, Grid{1}, kWarp, runtime.queue(), partial.data(), parts, Scalar<T>{T(1)},
         false, in.mean, overall, loss, static_cast<T*>(nullptr), static_cast<T*>(nullptr));
}

}  // namespace detail

template <class S, class T>
void chosen_forward(Runtime& runtime, const ChosenOnDevice<S, T>& in, T* each, T* loss) {
  const Buffer<T> losses(runtime, each == nullptr ? in.n : 0), overall(runtime, 1);
  T* const out = each == nullptr ? losses.data() : each;
  launch(losses_of_choices<S, T>, Grid{cover(in.n, kWarpsOfBlock)}, kBlock, runtime.queue(), in,
         out, static_cast<ChosenPair*>(nullptr));
  if (loss != nullptr) detail::reduce_choices(runtime, in, out, overall.data(), loss);
}

template <class S, class T>
void chosen_backward(Runtime& runtime, const ChosenOnDevice<S, T>& in, const int64_t* begin,
                     const int64_t* choosers, S* of_anchors, S* of_candidates) {
  const Buffer<ChosenPair> pairs(runtime, 2 * in.n);
  const Buffer<T> overall(runtime, 1);
  launch(losses_of_choices<S, T>, Grid{cover(in.n, kWarpsOfBlock)}, kBlock, runtime.queue(), in,
         static_cast<T*>(nullptr), pairs.data());
  detail::reduce_choices(runtime, in, static_cast<const T*>(nullptr), overall.data(),
                         static_cast<T*>(nullptr));
  const int64_t features = cover(in.d, kFeatures);
  if (of_anchors != nullptr) {
    launch(gradient_of_choices<S, T>, Grid{in.n, features}, kChosenThreads, runtime.queue(), in,
           pairs.data(), overall.data(), begin, choosers, true, in.itself, of_anchors);
  }
  if (of_candidates != nullptr) {
    launch(gradient_of_choices<S, T>, Grid{in.m, features}, kChosenThreads, runtime.queue(), in,
           pairs.data(), overall.data(), begin, choosers, false, true, of_candidates);
  }
}

}  // namespace fastloss::device
