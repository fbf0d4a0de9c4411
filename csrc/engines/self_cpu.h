// The CPU loops of one set against itself (contract: self.h).
//
// Candidates are cut into *panels*: those of the rows, then those of the others. Rows come in
// blocks; a tile is a block against a panel. A block meets the panels from its own on, and of its
// own panel the columns from its own first row on:
//     [from, from + square)   the block itself: both orders of a pair are here, for the rows only
//     [from + square, width)  rows further down: the score serves the row and the column
// and the scores of others serve rows only. G is one n × n × d product:
//   forward            a tile feeds the states of its rows and of its columns: ½ G.
//   forward_gradient   rows are known only when all tiles have been seen. The first rows' tiles are
//                      kept, as many as the workspace takes; then chunks of rows follow from the
//                      top, their scores kept or recomputed (½ G). A tile becomes the coefficients
//                      w of both rows' losses in place and enters the gradients of its rows and of
//                      its columns (1 G): 2 G in all, 1½ if every tile was kept.
//   backward           the same without the first pass.
// A loss of pairs has no first pass: its states are fed when its tiles become coefficients, 1½ G.
// Rows compared with others alone are complete after their chunk, whose tiles are all kept: 3 G.
//
// One (n, d) accumulator serves rows and columns: a panel collects its column gradients
// feature-major, (d × width), because w is then read as it lies. They are complete when the panel's
// own rows have been visited; it is turned, and what its rows collected is added. Panels, blocks
// and runs own what they write: no order depends on timing.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/lse.h"
#include "core/simd.h"
#include "engines/host.h"
#include "engines/operand.h"
#include "engines/pairwise_derivatives.h"
#include "engines/row_statistics.h"
#include "engines/self.h"
#include "engines/tiles.h"

namespace fastloss {

template <class Loss, class S>
class SelfCpu {
 public:
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Row = typename Loss::Row;

  SelfCpu(const SelfInput<S, T>& input, const Loss& loss)
      : in_(input),
        loss_(loss),
        // Distances are taken around the mean of the keys: here, of the rows.
        operands_(input.similarity, input.others, input.k, input.rows, input.n, input.d),
        target_similarity_(Loss::kPaired ? input.n : 0),
        cols_(panel_cols()),
        block_(block_rows()),
        own_panels_(input.itself ? (input.n + cols_ - 1) / cols_ : 0),
        panels_(own_panels_ + (input.k + cols_ - 1) / cols_),
        tiles_(operands_.key, operands_.query, block_, cols_) {
    static_assert(kTileCols <= kMaxColumns);
  }

  void forward(Row* rows);

  // row_grad(i): the factor of row i's gradient; row_grad.overall(rows): a factor of them all,
  // asked once every row is known.
  template <class RowGrad>
  void forward_gradient(Row* rows, const RowGrad& row_grad, const SelfGradients<T>& gradients);

  // With rows saved from a forward pass.
  template <class RowGrad>
  void backward(const Row* rows, const RowGrad& row_grad, const SelfGradients<T>& gradients);

 private:
  static constexpr int64_t kTileRows = 128;
  static constexpr int64_t kTileCols = 256;

  struct Panel {
    const Operand<S, T>& side;
    const T* statistic;  // of its first row
    int64_t first, width;
    int64_t column;  // candidate
    bool own;
  };

  // Columns are counted within the panel.
  struct Tile {
    int64_t row, count;
    int64_t from, square, width;

    int64_t both() const { return from + square; }
  };

  struct Accumulators;

  // Rows [row, row + rows) of panels [panel, last) with tiles in the chunk's memory.
  struct Chunk {
    int64_t row, rows, panel, last;
  };

  const Operand<S, T>& rows() const { return operands_.key; }
  const T* row_statistic() const { return operands_.key_statistic.data(); }

  int64_t panel_cols() const {
    const int64_t most = std::max(own_rows(), in_.k);
    int64_t cols = kTileCols;
    while (cols > 32 && cols / 2 >= most) cols /= 2;
    const auto bytes = [&] {
      const int64_t size =
          Tiles<S, T>::size(in_.d, kTileRows, cols, operands_.key.in_place() ? 1 : kTileRows,
                            operands_.key.in_place() && operands_.query.in_place() ? 1 : cols);
      // The smallest chunk: its tiles, its rows twice.
      const int64_t chunk = cols * (cols + 2 * in_.d);
      return (host::threads() * size + chunk) * int64_t{sizeof(T)};
    };
    while (cols > 32 && bytes() > in_.workspace / 2) cols /= 2;
    return cols;
  }
  // A power of two that divides a panel; less than kTileRows where threads would have no rows.
  int64_t block_rows() const {
    const int64_t share = in_.n / host::threads();
    int64_t block = std::min(kTileRows, cols_);
    while (block > 16 && block > share) block /= 2;
    return block;
  }

  Panel panel(int64_t p) const {
    const bool own = p < own_panels_;
    const int64_t first = (own ? p : p - own_panels_) * cols_;
    return {own ? operands_.key : operands_.query,
            (own ? operands_.key_statistic : operands_.query_statistic).data() + first,
            first,
            std::min(cols_, (own ? in_.n : in_.k) - first),
            own ? first : in_.n + first,
            own};
  }
  // The first panel that a row meets.
  int64_t first_panel(int64_t row) const { return in_.itself ? row / cols_ : 0; }

  Tile tile_of(int64_t row, int64_t count, const Panel& panel) const {
    if (!panel.own || panel.first > row) return {row, count, 0, 0, panel.width};
    return {row, count, row - panel.first, count, panel.width};
  }
  // Rows of [row, end) that meet panel p.
  int64_t height(int64_t row, int64_t end, int64_t p) const {
    return std::min(end, p < own_panels_ ? (p + 1) * cols_ : end) - row;
  }
  // Loops over rows that do little a row are shared in parts of so many.
  static constexpr int64_t kPart = 512;
  static int64_t parts(int64_t count) { return (count + kPart - 1) / kPart; }

  int64_t own_rows() const { return in_.itself ? in_.n : 0; }
  // Bytes for partial states.
  int64_t state_bytes() const { return in_.workspace / 16; }
  int64_t partner(int64_t row) const { return row < in_.n / 2 ? row + in_.n / 2 : row - in_.n / 2; }

  template <class Visit>
  void score_tile(const Panel& panel, const Tile& tile, int64_t slot, T* out, const Visit& visit);
  FASTLOSS_HOST_DEVICE void recompute_close(int64_t row, const Panel& panel, int64_t from,
                                            T* span) const;
  FASTLOSS_HOST_DEVICE void mask(int64_t row, const Panel& panel, int64_t from, T* span) const;

  void states(int64_t first, int64_t last, int64_t kept, Accumulators* acc, Row* rows);

  void chunk_scores(const Chunk& chunk, Accumulators& acc);
  template <class Derivatives>
  void chunk_gradients(const Chunk& chunk, const Derivatives& derivatives,
                       const SelfGradients<T>& gradients, Accumulators& acc);
  template <class Derivatives>
  void block_coefficients(const Chunk& chunk, int64_t row, int64_t count, int64_t slot,
                          const Derivatives& derivatives, const SelfGradients<T>& gradients,
                          Accumulators& acc) const;
  template <class Derivatives>
  FASTLOSS_HOST_DEVICE void coefficients(int64_t row, const Panel& panel, const Tile& tile,
                                         const Derivatives& derivatives, T* span, double* moment,
                                         T* row_sum, T* col_sum) const;
  void panel_products(const Chunk& chunk, int64_t p, int64_t from, int64_t to, T* out,
                      const Accumulators& acc) const;
  void add_rows(const Chunk& chunk, const SelfGradients<T>& gradients, const Accumulators& acc);
  template <class Derivatives>
  void all_chunks(const Derivatives& derivatives, const SelfGradients<T>& gradients,
                  Accumulators& acc, int64_t kept);
  void turn(const Panel& panel, int64_t slot, T* gradient) const;
  FASTLOSS_HOST_DEVICE void finish_row(const Operand<S, T>& side, const T* statistic, int64_t row,
                                       T sum, T overall, T* x, T* gradient) const;
  void clear(const SelfGradients<T>& gradients) const;
  void finish(const SelfGradients<T>& gradients, const Accumulators& acc, T overall);

  SelfInput<S, T> in_;
  Loss loss_;
  Operands<S, T> operands_;  // query: the others; key: the rows
  host::Buffer<T> target_similarity_;
  int64_t cols_, block_, own_panels_, panels_;
  Tiles<S, T> tiles_;
};

}  // namespace fastloss

#include "engines/self_cpu_gradient.inl"
#include "engines/self_cpu_states.inl"
