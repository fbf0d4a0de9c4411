// The CPU loops of the pairwise engine (contract: pairwise.h).
//
// Keys are cut into *panels* of kMaxTileCols columns, queries into blocks of kTileRows rows. A tile
// of scores is one small library product; the epilogue runs over it once while it is in cache.
//   forward            tiles live in per-thread scratch; a row's spans merge into its State: 1 G.
//   forward_gradient   a chunk of complete rows is kept (panel by panel, within the workspace). Its
//                      tiles are pushed as they are made; then the rows are finished, the tiles
//                      turned into coefficients w in place, and two products give both gradients:
//                      3 G. `weigh` leaves exp(s − span max) in the tile, so that the turning is a
//                      multiplication; losses that cannot (weighs() = false), and gradients for
//                      bias, scale or distances, keep the scores and take `dscore`.
//   backward           rows known: rectangles of the matrix are recomputed, then as above: 4 G
//                      together with forward.
//   symmetric          losses of rows and of columns: the first pass also merges each tile into the
//                      states of its columns. Only then is a row or column known, so the scores are
//                      kept if all of them fit the workspace, 3 G, or else recomputed, 4 G.
//   one_pass           losses without a normaliser: rectangles of the matrix become coefficients as
//                      they are made and are multiplied at once, complete rows or not: 3 G.
// Key gradients accumulate feature-major, (d × panel) blocks, because then w is read as it lies;
// they are turned in place at the end. A task owns the rows or the panel it writes: nothing is
// shared, no order depends on timing.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/lse.h"
#include "core/simd.h"
#include "engines/host.h"
#include "engines/operand.h"
#include "engines/pairwise.h"
#include "engines/pairwise_derivatives.h"
#include "engines/row_statistics.h"

namespace fastloss {

// Stands for the functor where whole rows of similarities are asked for (pairwise_cpu_rows.inl).
template <class T>
struct CompleteRows {
  using Value = T;
  struct State {};
  struct Row {};
};
template <class Loss>
constexpr bool kOfCompleteRows = false;
template <class T>
constexpr bool kOfCompleteRows<CompleteRows<T>> = true;

template <class Loss, class S>
class PairwiseCpu {
 public:
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Row = typename Loss::Row;

  PairwiseCpu(const PairwiseInput<S, T>& input, const Loss& loss)
      : in_(input),
        loss_(loss),
        operands_(input.similarity, input.query, input.n, input.key, input.m, input.d),
        target_similarity_(input.n),
        own_state_(input.h > 0 ? input.n : 0),
        own_(input.h > 0 ? input.n * input.h : 0),
        block_(tile_rows(input.n)),
        cols_(panel_cols()),
        panels_((input.m + cols_ - 1) / cols_),
        scratch_size_(scratch_size(cols_)),
        scratch_(host::threads() * scratch_size_),
        zeros_(kMaxTileCols, T(0)) {
    static_assert(kMaxTileCols <= kMaxColumns);
  }

  void forward(Row* rows);

  // row_grad(i): the factor of row i's gradient, asked once the row is known;
  // row_grad.overall(rows): a factor of them all, asked once every row is known.
  template <class RowGrad>
  void forward_gradient(Row* rows, const RowGrad& row_grad, const PairwiseGradients<T>& gradients);

  // After forward, or with rows saved from one.
  template <class RowGrad>
  void backward(const Row* rows, const RowGrad& row_grad, const PairwiseGradients<T>& gradients);

  // The same for symmetric losses, n = m: `cols` are the columns as rows.
  void symmetric_forward(Row* rows, Row* cols) { symmetric_states(rows, cols, nullptr); }
  template <class PairGrad>
  void symmetric_forward_gradient(Row* rows, Row* cols, const PairGrad& pair_grad,
                                  const PairwiseGradients<T>& gradients);
  template <class PairGrad>
  void symmetric_backward(const Row* rows, const Row* cols, const PairGrad& pair_grad,
                          const PairwiseGradients<T>& gradients);

  // The same for losses without a normaliser (OnePass), whose forward pass is the one above.
  template <class RowGrad>
  void one_pass_forward_gradient(Row* rows, const RowGrad& row_grad,
                                 const PairwiseGradients<T>& gradients);
  template <class RowGrad>
  void one_pass_backward(const Row* rows, const RowGrad& row_grad,
                         const PairwiseGradients<T>& gradients);

  // For CompleteRows: work(row, slot, z, dscore) gets the m similarities of one row, of which it
  // may make what it likes, fills dscore[m] with ∂L/∂z unless it is null, and returns a factor of
  // these. `beside` bytes of the workspace are the caller's; overall() is a factor of all
  // gradients, asked once every row is done.
  template <class Work, class Overall>
  void complete_rows(const Work& work, const Overall& overall, int64_t beside,
                     const PairwiseGradients<T>& gradients);

 private:
  // A rectangle of the matrix that is kept: `rows` rows from `row`, `panels` panels from `panel`.
  // Tile (panel p, row r) starts at scores + (p · capacity + place + r) · cols_.
  struct Chunk {
    int64_t row, rows, panel, panels;
    bool first_rows, first_panels;  // nothing has been accumulated yet for these columns / rows
    int64_t place = 0;
  };

  // How a pass over all scores is cut: a task is a run of rows against a run of panels. Long runs
  // of rows share the packing of a panel; short ones keep all threads busy.
  struct Runs {
    int64_t rows, panels;
  };
  Runs runs_of(int64_t rows) const;

  struct Accumulators;

  // Where the sums of a tile go; null: not wanted.
  struct TileSums {
    double* moment;  // of a row: Σ_j ∂L/∂s_ij · z_ij
    T* row;          // of a row: Σ_j w_ij
    T* bias;         // of a column: Σ_i ∂L/∂s_ij
    T* col;          // of a column: Σ_i w_ij
  };

  // Rows of a tile: kTileRows, fewer when that would leave threads without rows.
  static int64_t tile_rows(int64_t rows) {
    const int64_t share = (rows + host::threads() - 1) / host::threads();
    return std::clamp<int64_t>((share + 15) / 16 * 16, 16, kTileRows);
  }
  int64_t blocks(int64_t rows) const { return (rows + block_ - 1) / block_; }
  int64_t panel_width(int64_t panel) const { return std::min(cols_, in_.m - panel * cols_); }
  const T* bias_of(int64_t panel) const {
    return in_.key_bias != nullptr ? in_.key_bias + panel * cols_ : zeros_.data();
  }

  // Per-thread scratch: one packed panel, one tile, and room for copies of rows — whole blocks of
  // them only where they cannot be read in place.
  int64_t query_copies() const { return operands_.query.in_place() ? 1 : block_; }
  int64_t key_copies(int64_t cols) const { return operands_.key.in_place() ? 1 : cols; }
  int64_t scratch_size(int64_t cols) const {
    return (cols + 8 + query_copies() + key_copies(cols)) * in_.d + block_ * cols;
  }
  int64_t panel_cols() const {
    int64_t cols = kMaxTileCols;
    while (cols > 32 && cols / 2 >= in_.m) cols /= 2;
    while (cols > 32 &&
           host::threads() * scratch_size(cols) * int64_t{sizeof(T)} > in_.workspace / 2) {
      cols /= 2;
    }
    return cols;
  }
  T* packed_panel(int64_t slot) const { return scratch_.data() + slot * scratch_size_; }
  T* strip(int64_t slot) const { return packed_panel(slot) + cols_ * in_.d; }
  T* query_copy(int64_t slot) const { return strip(slot) + 8 * in_.d; }
  T* key_copy(int64_t slot) const { return query_copy(slot) + query_copies() * in_.d; }
  T* tile(int64_t slot) const { return key_copy(slot) + key_copies(cols_) * in_.d; }

  void pack_panel(int64_t panel, int64_t slot) const {
    if constexpr (std::is_same_v<S, BFloat16>) {
      if (pairs_) {
        auto* const out = reinterpret_cast<S*>(packed_panel(slot));
        return operands_.key.pairs_transposed(panel * cols_, panel_width(panel), out, cols_);
      }
    }
    operands_.key.transposed(panel * cols_, panel_width(panel), nullptr, strip(slot),
                             packed_panel(slot), cols_);
  }
  void multiply_tile(int64_t row, int64_t rows, int64_t width, int64_t slot, T* out) const;

  template <class Visit>
  void score_tile(int64_t row, int64_t rows, int64_t panel, int64_t slot, T* out,
                  const Visit& visit);
  FASTLOSS_HOST_DEVICE void recompute_close(int64_t row, int64_t panel, T* span) const;
  FASTLOSS_HOST_DEVICE void mask_group(int64_t row, int64_t panel, T* span) const;

  FASTLOSS_HOST_DEVICE State push(int64_t row, int64_t panel, const T* span) const;
  FASTLOSS_HOST_DEVICE State slopes(int64_t row, const T* span, int64_t count, T* dscore) const {
    return loss_.slopes(span, count, TargetFirst<Loss> ? target_similarity_[row] : T(0), dscore);
  }

  void own_scores(int64_t row, int64_t rows, int64_t slot);
  Row finish_row(int64_t row, State state) const;

  template <class Visit>
  void chunk_tiles(const Chunk& chunk, Accumulators& acc, const Visit& visit);
  void chunk_scores(const Chunk& chunk, Accumulators& acc, int mode);
  template <class Derivatives>
  void chunk_gradients(const Chunk& chunk, const Derivatives& derivatives,
                       const PairwiseGradients<T>& gradients, Accumulators& acc, bool weighed);
  template <class Derivatives>
  void all_chunks(const Derivatives& derivatives, const PairwiseGradients<T>& gradients);
  struct Rectangle {
    int64_t rows, panels;
  };
  Rectangle rectangle() const;
  template <class Work>
  void for_each_chunk(int64_t capacity, int64_t panels, const Work& work) const;
  void symmetric_states(Row* rows, Row* cols, T* kept);
  void target_scores();
  template <class RowGrad>
  void chunk_coefficients(const Chunk& chunk, const RowGrad& row_grad, Accumulators& acc);
  template <class RowGrad>
  void all_at_once(Row* rows, const RowGrad& row_grad, const PairwiseGradients<T>& gradients);
  template <class Derivatives>
  void add_targets(const Derivatives& derivatives, const PairwiseGradients<T>& gradients,
                   Accumulators& acc);
  template <class RowGrad>
  void sum_rows(const Row* rows, const RowGrad& row_grad,
                const PairwiseGradients<T>& gradients) const;
  template <class Derivatives>
  void chunk_by_rows(const Chunk& chunk, const Derivatives& derivatives,
                     const PairwiseGradients<T>& gradients, Accumulators& acc, bool weighed);
  template <class Derivatives>
  void chunk_by_panels(const Chunk& chunk, const Derivatives& derivatives,
                       const PairwiseGradients<T>& gradients, Accumulators& acc, bool weighed);
  template <class Derivatives>
  void tile_coefficients(int64_t row0, int64_t count, int64_t panel, int64_t place,
                         const Derivatives& derivatives, const TileSums& sums, Accumulators& acc,
                         bool weighed) const;
  template <class Overall>
  struct RowCoefficients;
  template <class Overall>
  void tile_coefficients(int64_t row0, int64_t count, int64_t panel, int64_t place,
                         const RowCoefficients<Overall>&, const TileSums& sums, Accumulators& acc,
                         bool) const;
  template <class Derivatives>
  FASTLOSS_HOST_DEVICE void coefficients_of_span(int64_t row, int64_t r, int64_t panel,
                                                 const Derivatives& derivatives, T* span,
                                                 const TileSums& sums) const;
  FASTLOSS_HOST_DEVICE void sum_coefficients(int64_t r, int64_t width, const T* span,
                                             const TileSums& sums) const;
  FASTLOSS_HOST_DEVICE void set_target(int64_t row, int64_t r, int64_t panel, T dscore, T* span,
                                       const TileSums& sums) const;
  FASTLOSS_HOST_DEVICE void finish_row_gradient(const T* x, T unit, T factor, T sum, T* grad) const;
  T similarity_factor(T overall) const {
    return is_distance(in_.similarity) ? overall : in_.scale * overall;
  }
  template <class Derivatives>
  void finish_queries(const Derivatives& derivatives, const PairwiseGradients<T>& gradients,
                      Accumulators& acc, T overall);
  void finish_keys(const PairwiseGradients<T>& gradients, const Accumulators& acc, T overall);
  template <class Derivatives>
  void finish(const Derivatives& derivatives, const PairwiseGradients<T>& gradients,
              Accumulators& acc);
  int64_t room_for_rows(int64_t panels, int64_t bytes) const;
  int64_t ranges_of(int64_t rows, int64_t panels) const;
  int64_t chunk_rows(int64_t panels, int64_t bytes) const;
  const T* row_factor(int64_t row) const;

  PairwiseInput<S, T> in_;
  Loss loss_;
  Operands<S, T> operands_;
  host::Buffer<T> target_similarity_;  // z of the target, margin not taken off
  host::Buffer<State> own_state_;      // state of a row's own negatives
  host::Buffer<T> own_;                // their z
  // bfloat16 rows are multiplied as they are stored; else all products are of type T.
  bool pairs_ = std::is_same_v<S, BFloat16> && host::multiplies_bfloat16() &&
                operands_.query.has_pairs() && operands_.key.has_pairs();
  int64_t block_, cols_, panels_, scratch_size_;
  host::Buffer<T> scratch_;
  host::Buffer<T> zeros_;
};

}  // namespace fastloss

#include "engines/pairwise_cpu_forward.inl"
#include "engines/pairwise_cpu_gradient.inl"
#include "engines/pairwise_cpu_onepass.inl"
#include "engines/pairwise_cpu_rows.inl"
#include "engines/pairwise_cpu_symmetric.inl"
