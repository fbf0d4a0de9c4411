// One set against itself on the device: what a tile of products is, and how threads read it.
//
// A tile holds rows [row, row + rows) against a run of candidates. Candidates that are rows
// themselves (`own`) meet a row once: of a pair, the score above the diagonal is the one that is
// read, s_rc with c > r, and it serves both. No score is formed twice, so that no two roundings of
// one number meet.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/operands.cuh"
#include "cuda/self_input.h"
#include "engines/self.h"

namespace fastloss::device {

// Threads of a block of every kernel here, and rows that it takes.
constexpr int kSelfThreads = 128;
constexpr int64_t kSelfRows = 64;
// Blocks of the widest of them on a multiprocessor: more would spill doubles.
template <class T>
constexpr int kSelfBlocks = sizeof(T) == 8 ? 3 : 4;

// r and c are counted in the tile.
struct SelfTile {
  int64_t stride;  // values from row to row: padded(cols)
  int64_t row, rows, cols;
  int64_t column;  // candidate of the first column
  int64_t index;   // its place on its own side
  bool own;

  // Whether any of the rows from `r` on meets a column before `end`.
  FASTLOSS_HOST_DEVICE bool meets(int64_t r, int64_t end) const {
    const int64_t last = end < cols ? end : cols;
    return !own || column + last > row + r + 1;
  }
  // Whether every row of [r, r + height) meets every column of [c, c + width).
  FASTLOSS_HOST_DEVICE bool is_full(int64_t r, int64_t height, int64_t c, int64_t width) const {
    return r + height <= rows && c + width <= cols && (!own || column + c > row + r + height - 1);
  }
  FASTLOSS_HOST_DEVICE bool has(int64_t r, int64_t c) const {
    return r < rows && c < cols && (!own || column + c > row + r);
  }
};

// From products to scores, and where the scores of targets go.
template <class S, class T>
struct SelfScores {
  Similarity similarity;
  Scalar<T> scale;
  Side<S, T> rows, cols;  // cols: the tile's side
  int64_t partner;        // rows r and r + partner are each other's target; 0: there are none
  T* target;              // (n), where there are

  // Whether a target may be among rows [r, r + height) and columns [c, c + width).
  FASTLOSS_DEVICE bool has_targets(const SelfTile& tile, int64_t r, int64_t height, int64_t c,
                                   int64_t width) const {
    const int64_t ahead = tile.column + c - (tile.row + r) - partner;  // of the pairs' diagonal
    return tile.own && ahead < height && ahead > -width;
  }
};

// kCount values at a multiple of 16 bytes.
template <class T, int kCount>
FASTLOSS_DEVICE void load_aligned(const T* from, T (&to)[kCount]) {
  struct alignas(16) Part {
    T values[16 / sizeof(T)];
  };
  constexpr int kPart = 16 / sizeof(T);
  static_assert(kCount % kPart == 0);
#pragma unroll
  for (int p = 0; p < kCount / kPart; ++p) {
    const Part part = reinterpret_cast<const Part*>(from)[p];
#pragma unroll
    for (int e = 0; e < kPart; ++e) to[p * kPart + e] = part.values[e];
  }
}

// ‖x − y‖² of two stored rows by all lanes of the warp.
template <class S, class T>
FASTLOSS_DEVICE T squared_distance_by_warp(const Side<S, T>& rows, int64_t row,
                                           const Side<S, T>& cols, int64_t col) {
  const S* const x = rows.stored + row * rows.d;
  const S* const y = cols.stored + col * cols.d;
  T sum = 0;
#pragma unroll 1
  for (int64_t k = lane(); k < rows.d; k += kWarp) {
    const T difference = static_cast<T>(x[k]) - static_cast<T>(y[k]);
    sum += difference * difference;
  }
  return warp_sum(sum);
}

// Products of a row with kSpan columns of its side, from `index` on, to scaled similarities; those
// that are not `read` have no meaning before and after. All lanes of the warp take part, each with
// a row of its own. Distances that the expansion has lost are formed of the rows' difference by the
// whole warp, one after the other: rows are read side by side, and no lane waits for another's row.
template <bool kDistance, class S, class T>
FASTLOSS_DEVICE void similarities_by_warp(const SelfScores<S, T>& of, T scale, int64_t row,
                                          int64_t index, T row_statistic,
                                          const T (&statistics)[kSpan], const bool (&read)[kSpan],
                                          T (&span)[kSpan]) {
  if constexpr (!kDistance) {
#pragma unroll
    for (int e = 0; e < kSpan; ++e) span[e] *= scale * (row_statistic * statistics[e]);
  } else {
#pragma unroll
    for (int e = 0; e < kSpan; ++e) {
      const T norms = row_statistic + statistics[e];
      const T expanded = norms - 2 * span[e];
      uint32_t close = ballot(read[e] && expanded < kDirectDistance<T> * norms);
      span[e] = expanded < T(0) ? T(0) : expanded;
      for (int from = 0; close != 0; ++from, close >>= 1) {
        if ((close & 1) == 0) continue;
        const int64_t i = shuffle(row, from), j = shuffle(index, from) + e;
        const T square = squared_distance_by_warp(of.rows, i, of.cols, j);
        if (lane() == from) span[e] = square;
      }
      if (of.similarity == Similarity::kEuclidean) span[e] = std::sqrt(span[e]);
      span[e] *= -scale;
    }
  }
}

// The statistics of kSpan columns of the tile's side from `index` on, of which `count` are there.
template <class S, class T>
FASTLOSS_DEVICE void ragged_statistics(const Side<S, T>& side, int64_t index, int64_t count,
                                       T (&statistics)[kSpan]) {
#pragma unroll
  for (int e = 0; e < kSpan; ++e) statistics[e] = e < count ? side.statistic_of(index + e) : T(0);
}

}  // namespace fastloss::device
