// NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv:2002.05709), one of the 2n rows: InfoNCE of
// the row's partner among all other rows, and the queue's. The partner's score s_t reaches `finish`
// alone, all others through N = log Σ_j exp s_j:
//     L = log(e^N + e^{s_t}) − s_t,        decoupled: L = N − s_t
// What is added here is the way from a tile to its columns: s_ij = s_ji belongs to row i and to
// row j,
//     ∂(g_i L_i + g_j L_j)/∂s_ij = g_i p_ij + g_j p_ji.
#pragma once

#include <cstddef>

#include "losses/info_nce.h"

namespace fastloss {

template <class T>
struct NtXent : InfoNce<T> {
  using typename InfoNce<T>::State;
  using typename InfoNce<T>::Row;

  static constexpr bool kPaired = true;
  static constexpr int kOptions = 1;
  static NtXent make(const double* options, const int32_t* /*label*/) {
    return {{T(0), options[0] != 0}};
  }

  FASTLOSS_HOST_DEVICE static State push(const T* s, int64_t /*row*/, int64_t /*column*/,
                                         int64_t count) {
    return {lse_of_scores<T>(count, [=](int64_t j) FASTLOSS_SIMD_LOOP { return s[j]; }), {}};
  }

  // Merges the scores tile[r][j], r < rows, into states[j], j < cols.
  FASTLOSS_HOST_DEVICE static void push_columns(const T* tile, int64_t stride, int64_t rows,
                                                int64_t cols, int64_t /*row*/, int64_t /*column*/,
                                                State* states) {
    merge_lse_of_columns(tile, stride, rows, cols, states);
  }

  FASTLOSS_HOST_DEVICE static void dscores(const T* __restrict s, int64_t /*row*/,
                                           int64_t /*column*/, int64_t count, const Row& row,
                                           T factor, T* __restrict out) {
    const T max = row.normaliser.max, share = factor * row.normaliser.inverse;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) out[j] = share * math::exp_up_to_0(s[j] - max);
  }

  // Adds factor[j] · ∂L_j/∂s_j to out[j].
  FASTLOSS_HOST_DEVICE static void add_columns(const T* __restrict s, int64_t /*row*/,
                                               int64_t /*column*/, int64_t count,
                                               const T* __restrict fields, int64_t stride,
                                               const T* __restrict factor, T* __restrict out) {
    const T* __restrict max = fields + stride * (offsetof(Row, normaliser) / sizeof(T));
    const T* __restrict inverse = max + stride;
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      out[j] += factor[j] * inverse[j] * math::exp_up_to_0(s[j] - max[j]);
    }
  }
};

}  // namespace fastloss
