// The symmetric contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020): InfoNCE along the
// rows of the scores and InfoNCE along their columns, the diagonal being both targets,
//     L_i = ½ (row_i + col_i),    ∂L/∂s_ij = ½ g_i ∂row_i/∂s_ij + ½ g_j ∂col_j/∂s_ij
// with g the pairs' weights. Rows and columns are InfoNCE rows (info_nce.h), so all that is added
// is the state of columns. A bias common to all scores cancels in both softmaxes.
#pragma once

#include <cstddef>

#include "losses/info_nce.h"

namespace fastloss {

template <class T>
struct ClipLoss : InfoNce<T> {
  using typename InfoNce<T>::State;
  using typename InfoNce<T>::Row;

  static constexpr int kOptions = 1;
  static constexpr bool kOwnsNegatives = false;
  static ClipLoss make(const double* options, const T* /*key_weight*/) {
    return {{static_cast<T>(options[0]), false}};
  }

  // Merges the scores tile[r][j], r < rows, into states[j], j < cols.
  FASTLOSS_HOST_DEVICE void push_columns(const T* tile, int64_t stride, int64_t rows, int64_t cols,
                                         State* states) const {
    merge_lse_of_columns(tile, stride, rows, cols, states);
    if (!(this->smoothing > T(0))) return;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < cols; ++j) states[j].scores.push(tile[r * stride + j]);
    }
  }

  // Adds factor[j] · ∂col_j/∂s to dscore[j]. Field f of column j's Row is fields[f · stride + j].
  FASTLOSS_HOST_DEVICE static void add_columns(const T* __restrict score,
                                               const T* __restrict fields, int64_t stride,
                                               const T* __restrict factor, int64_t count,
                                               T* __restrict dscore) {
    const T* __restrict max = fields + stride * (offsetof(Row, normaliser) / sizeof(T));
    const T* __restrict inverse = max + stride;
    const T* __restrict uniform = fields + stride * (offsetof(Row, uniform) / sizeof(T));
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      dscore[j] += factor[j] * InfoNce<T>::derivative(score[j], {max[j], inverse[j]}, uniform[j]);
    }
  }
};

}  // namespace fastloss
