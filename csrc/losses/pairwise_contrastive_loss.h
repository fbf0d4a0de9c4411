// Contrastive loss (contrastive_loss.h) of all pairs, one row: every pair is a term of one of its
// rows, the earlier one,
//     L_i = Σ_{j > i} ℓ(d_ij, [y_i = y_j]),      d = o − s,     ∂ℓ/∂s = −∂ℓ/∂d
// with o = 1 for cosines, 0 else. Candidates that are no rows come after all rows: j > i holds of
// each. A span of a row begins where its own pairs begin, and ends for columns where theirs end.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/simd.h"
#include "losses/contrastive_loss.h"

namespace fastloss {

template <class T>
struct PairwiseContrastiveLoss {
  using Value = T;

  struct State {
    double sum = 0;

    FASTLOSS_HOST_DEVICE void merge(const State& other) { sum += other.sum; }
  };

  struct Row {
    T value;

    FASTLOSS_HOST_DEVICE static bool counts() { return true; }
  };

  ContrastiveLoss<T> loss;
  T origin;              // o
  const int32_t* label;  // of the candidates

  static constexpr bool kPaired = false;
  static constexpr bool kOfPairs = true;
  static constexpr int kOptions = 4;
  static PairwiseContrastiveLoss make(const double* options, const int32_t* label) {
    return {{static_cast<T>(options[0]), static_cast<T>(options[1]),
             static_cast<NegativeTerm>(static_cast<int>(options[2]))},
            static_cast<T>(options[3]),
            label};
  }

  FASTLOSS_HOST_DEVICE State push(const T* __restrict s, int64_t row, int64_t column,
                                  int64_t count) const {
    T sum = 0;
    T* const out = &sum;
    with_term([=, this](const ContrastiveLoss<T>& of) FASTLOSS_SIMD_LOOP {
      const int32_t mine = label[row];
      const int32_t* __restrict theirs = label + column;
      const T from = origin;
      T total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t j = first_pair(row, column, count); j < count; ++j) {
        total += of.at(from - s[j], theirs[j] == mine).value;
      }
      *out = total;
    });
    return {static_cast<double>(sum)};
  }

  // One pair, the later candidate given: its value and its derivative by the score.
  FASTLOSS_HOST_DEVICE Element<T> of_pair(T s, int64_t row, int64_t column) const {
    const Element<T> of = loss.at(origin - s, label[column] == label[row]);
    return {of.value, -of.derivative};
  }

  // The scores [begin, end) of kCount, in loops whose length is known: on a device scores are in
  // registers, which have no addresses.
  template <int kCount>
  FASTLOSS_HOST_DEVICE State push_part(const T* s, int64_t row, int64_t column, int begin,
                                       int end) const {
    T sum = 0;
    FASTLOSS_UNROLL
    for (int j = 0; j < kCount; ++j) {
      const T value = of_pair(s[j], row, column + j).value;
      sum += (j >= begin) & (j < end) ? value : T(0);
    }
    return {static_cast<double>(sum)};
  }

  // The pairs of a tile are their rows'.
  FASTLOSS_HOST_DEVICE static void push_columns(const T*, int64_t, int64_t, int64_t, int64_t,
                                                int64_t, State*) {}

  FASTLOSS_HOST_DEVICE static Row finish(const State& state, T /*target*/) {
    return {static_cast<T>(state.sum)};
  }

  // out[j] = factor · ∂L/∂s_j.
  FASTLOSS_HOST_DEVICE void dscores(const T* __restrict s, int64_t row, int64_t column,
                                    int64_t count, const Row&, T factor, T* __restrict out) const {
    const int64_t begin = first_pair(row, column, count);
    std::fill_n(out, begin, T(0));
    with_term([=, this](const ContrastiveLoss<T>& of) FASTLOSS_SIMD_LOOP {
      const int32_t mine = label[row];
      const int32_t* __restrict theirs = label + column;
      const T from = origin;
#pragma omp simd
      for (int64_t j = begin; j < count; ++j) {
        out[j] = -factor * of.at(from - s[j], theirs[j] == mine).derivative;
      }
    });
  }

  // Adds factor[j] · ∂L_j/∂s_j to out[j].
  FASTLOSS_HOST_DEVICE void add_columns(const T* __restrict s, int64_t row, int64_t column,
                                        int64_t count, const T*, int64_t,
                                        const T* __restrict factor, T* __restrict out) const {
    const int64_t end = std::clamp<int64_t>(row - column, 0, count);
    if (end == 0) return;
    with_term([=, this](const ContrastiveLoss<T>& of) FASTLOSS_SIMD_LOOP {
      const int32_t mine = label[row];
      const int32_t* __restrict theirs = label + column;
      const T from = origin;
#pragma omp simd
      for (int64_t j = 0; j < end; ++j) {
        out[j] -= factor[j] * of.at(from - s[j], theirs[j] == mine).derivative;
      }
    });
  }

 private:
  // The first candidate of the span that comes after the row.
  FASTLOSS_HOST_DEVICE static int64_t first_pair(int64_t row, int64_t column, int64_t count) {
    return std::clamp<int64_t>(row + 1 - column, 0, count);
  }

  // visit(loss) with a term known to the compiler: no loop decides it.
  template <class Visit>
  FASTLOSS_HOST_DEVICE void with_term(const Visit& visit) const {
    switch (loss.term) {
      case NegativeTerm::kMarginMinusDistanceSquared:
        return visit(
            ContrastiveLoss<T>{loss.margin, loss.scale, NegativeTerm::kMarginMinusDistanceSquared});
      case NegativeTerm::kMarginSquaredMinusDistanceSquared:
        return visit(ContrastiveLoss<T>{loss.margin, loss.scale,
                                        NegativeTerm::kMarginSquaredMinusDistanceSquared});
      case NegativeTerm::kLinear:
        return visit(ContrastiveLoss<T>{loss.margin, loss.scale, NegativeTerm::kLinear});
      case NegativeTerm::kAsPublished:
        return visit(ContrastiveLoss<T>{loss.margin, loss.scale, NegativeTerm::kAsPublished});
    }
  }
};

}  // namespace fastloss
