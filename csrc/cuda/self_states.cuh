// One set against itself on the device: the states of rows, from tiles of products.
//
// A block takes kSelfRows rows and a strip of columns, a square of both at a time through shared
// memory. There the square's rows are pushed as spans, a thread to half a row; and, if the columns
// are rows themselves, its columns as spans too, a thread to half a column: s_ij = s_ji belongs to
// both. Neither access has bank conflicts, because a row lies 16 bytes further than it is long.
// What a block knows of a row or of a column is one partial state; partial states are merged in
// order, by a second kernel, into states that stay from tile to tile.
#pragma once

#include <cstdint>

#include "cuda/self_tiles.cuh"

namespace fastloss::device {

// How partial states lie: of row r, of strip s of columns, at of_rows[s · rows + r]; of column c,
// of block b of rows, at of_cols[b · cols + c]. Where a strip meets no row of a block, or a block
// no column of a square, nothing is written nor read.
struct SelfPartition {
  int64_t strip, square;

  int64_t of_rows(const SelfTile& tile) const { return cover(tile.cols, strip) * tile.rows; }
  int64_t of_cols(const SelfTile& tile) const { return cover(tile.rows, kSelfRows) * tile.cols; }
};

// Losses are given −inf where a row meets no candidate; one whose scores may be −inf themselves
// takes of a span those of [begin, end):
//     push_part<kCount>(s, row, column, begin, end) const → State
template <class Loss>
concept PushesParts = requires(const Loss& loss, const typename Loss::Value* s) {
  loss.template push_part<4>(s, int64_t{}, int64_t{}, 0, 4);
};

template <class Loss>
struct SelfSquares {
  using T = typename Loss::Value;

  static constexpr int kSide = kSelfRows;
  static constexpr int kCount = 4;  // of a strip
  static constexpr int kHalf = kSide / 2;
  static constexpr int kPushed = sizeof(T) == 8 ? 8 : 16;  // scores of a span
  static constexpr int kStride = kSide + 16 / sizeof(T);
  static constexpr SelfPartition kPartition{kSide * kCount, kSide};
};

// Products of a square, from (r0, c0) of the tile on, become scores in shared memory: −inf where a
// row meets no candidate, or its target.
template <class Loss, bool kDistance, class S>
FASTLOSS_DEVICE void load_square(const SelfTile& tile, const typename Loss::Value* products,
                                 const SelfScores<S, typename Loss::Value>& of, int64_t r0,
                                 int64_t c0, typename Loss::Value scale,
                                 typename Loss::Value* square) {
  using T = typename Loss::Value;
  using Shape = SelfSquares<Loss>;
  constexpr int kAcross = Shape::kSide / kSpan, kDown = kSelfThreads / kAcross;
  constexpr int kTogether = sizeof(T) == 8 ? 2 : 4;  // loads under way
  const int first = thread() / kAcross, col = thread() % kAcross * kSpan;
  const int64_t c = c0 + col;
  const bool full = tile.is_full(r0, Shape::kSide, c0, Shape::kSide);
  const bool targets = Loss::kPaired && of.has_targets(tile, r0, Shape::kSide, c0, Shape::kSide);
  T statistics[kSpan];
  ragged_statistics(of.cols, tile.index + c, tile.cols - c, statistics);
#pragma unroll 1
  for (int down = first; down < Shape::kSide; down += kTogether * kDown) {
    T spans[kTogether][kSpan];
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t r = r0 + down + k * kDown;
#pragma unroll
      for (int e = 0; e < kSpan; ++e) spans[k][e] = T(0);
      if (r < tile.rows && c < tile.cols) load_span(products + r * tile.stride + c, spans[k]);
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int64_t r = r0 + down + k * kDown, row = tile.row + r;
      bool read[kSpan];
#pragma unroll
      for (int e = 0; e < kSpan; ++e) read[e] = full || tile.has(r, c + e);
      const T statistic = r < tile.rows ? of.rows.statistic_of(row) : T(0);
      similarities_by_warp<kDistance>(of, scale, row, tile.index + c, statistic, statistics, read,
                                      spans[k]);
#pragma unroll
      for (int e = 0; e < kSpan; ++e) {
        if (!read[e]) spans[k][e] = -math::kInfinity<T>;
        if (targets && read[e] && tile.column + c + e == row + of.partner) {
          of.target[row] = of.target[row + of.partner] = spans[k][e];
          spans[k][e] = -math::kInfinity<T>;
        }
      }
      store_span(square + (down + k * kDown) * Shape::kStride + col, spans[k]);
    }
  }
}

// The span's scores [begin, end) are candidates', the others' −inf.
template <class Loss, int kCount>
FASTLOSS_DEVICE void push_span(const Loss& loss, const typename Loss::Value (&span)[kCount],
                               int64_t row, int64_t column, int64_t begin, int64_t end,
                               typename Loss::State& state) {
  if constexpr (PushesParts<Loss>) {
    const int from = static_cast<int>(begin < 0 ? 0 : begin < kCount ? begin : kCount);
    const int to = static_cast<int>(end < 0 ? 0 : end < kCount ? end : kCount);
    state.merge(loss.template push_part<kCount>(span, row, column, from, to));
  } else {
    state.merge(loss.push(span, row, column, kCount));
  }
}

// Blocks: strips of columns × blocks of rows.
template <class Loss, bool kDistance, class S>
FASTLOSS_KERNEL(kSelfThreads, kSelfBlocks<typename Loss::Value>)
void push_self(SelfTile tile, const typename Loss::Value* products,
               SelfScores<S, typename Loss::Value> of, Loss loss, typename Loss::State* of_rows,
               typename Loss::State* of_cols) {
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Shape = SelfSquares<Loss>;
  constexpr int kPushed = Shape::kPushed, kHalf = Shape::kHalf;
  FASTLOSS_SHARED(T, square, Shape::kSide * Shape::kStride);
  FASTLOSS_SHARED(State, halves, Shape::kSide);
  const int64_t strip = block().x, rows = block().y, r0 = rows * kSelfRows;
  const int64_t first = strip * Shape::kPartition.strip;
  if (!tile.meets(r0, first + Shape::kPartition.strip)) return;
  const T scale = of.scale.get();
  const int line = thread() % Shape::kSide, begin = thread() / Shape::kSide * kHalf;
  const int64_t r = r0 + line, row = tile.row + r;
  State of_row{};
#pragma unroll 1
  for (int q = 0; q < Shape::kCount; ++q) {
    const int64_t c0 = first + q * Shape::kSide;
    if (c0 >= tile.cols) break;
    if (!tile.meets(r0, c0 + Shape::kSide)) continue;
    load_square<Loss, kDistance>(tile, products, of, r0, c0, scale, square);
    barrier();
    const int64_t column = tile.column + c0;
#pragma unroll 1
    for (int e = begin; e < begin + kHalf; e += kPushed) {
      T span[kPushed];
      load_aligned(square + line * Shape::kStride + e, span);
      push_span(loss, span, row, column + e, tile.own ? row + 1 - column - e : 0,
                r < tile.rows ? tile.cols - c0 - e : 0, of_row);
    }
    if (!kIsOfPairs<Loss> && tile.own) {
      // A column's candidates are the tile's rows before it.
      const int64_t c = c0 + line, above = column + line - tile.row;
      const int64_t end = c < tile.cols ? (above < tile.rows ? above : tile.rows) - r0 : 0;
      State of_col{};
#pragma unroll 1
      for (int e = begin; e < begin + kHalf; e += kPushed) {
        T span[kPushed];
#pragma unroll
        for (int i = 0; i < kPushed; ++i) span[i] = square[(e + i) * Shape::kStride + line];
        push_span(loss, span, column + line, tile.row + r0 + e, 0, end - e, of_col);
      }
      if (begin > 0) halves[line] = of_col;
      barrier();
      if (begin == 0 && c < tile.cols) {
        of_col.merge(halves[line]);
        of_cols[rows * tile.cols + c] = of_col;
      }
    } else {
      barrier();
    }
  }
  barrier();
  if (begin > 0) halves[line] = of_row;
  barrier();
  if (begin == 0 && r < tile.rows) {
    of_row.merge(halves[line]);
    of_rows[strip * tile.rows + r] = of_row;
  }
}

// Merges the partial states of a tile into states[candidate] of its rows and, where they are given,
// of its columns. A thread has a row, or a column that is no row of the tile.
template <class State>
FASTLOSS_KERNEL(kSelfThreads, 8)
void merge_self(SelfTile tile, SelfPartition parts, const State* of_rows, const State* of_cols,
                State* states) {
  const int64_t t = block().x * threads() + thread();
  const bool is_row = t < tile.rows;
  const int64_t i = is_row ? tile.row + t : tile.column + t - tile.rows;
  const int64_t c = tile.own || !is_row ? i - tile.column : -1;
  if (!is_row) {
    if (of_cols == nullptr || c >= tile.cols) return;
    if (tile.own && i >= tile.row && i < tile.row + tile.rows) return;
  }
  State state = states[i];
  if (is_row) {
    const int64_t r = t / kSelfRows * kSelfRows;
    for (int64_t s = 0; s * parts.strip < tile.cols; ++s) {
      if (tile.meets(r, (s + 1) * parts.strip)) state.merge(of_rows[s * tile.rows + t]);
    }
  }
  if (of_cols != nullptr && c >= 0 && c < tile.cols) {
    const int64_t end = (c / parts.square + 1) * parts.square;
    for (int64_t b = 0; b * kSelfRows < tile.rows; ++b) {
      if (tile.meets(b * kSelfRows, end)) state.merge(of_cols[b * tile.cols + c]);
    }
  }
  states[i] = state;
}

// Rows from complete states.
template <class Loss>
FASTLOSS_KERNEL(kSelfThreads, 4)
void finish_self(Loss loss, const typename Loss::State* states, const typename Loss::Value* target,
                 int64_t n, typename Loss::Row* rows) {
  using T = typename Loss::Value;
  const int64_t i = block().x * threads() + thread();
  if (i < n) rows[i] = loss.finish(states[i], target != nullptr ? target[i] : T(0));
}

}  // namespace fastloss::device
