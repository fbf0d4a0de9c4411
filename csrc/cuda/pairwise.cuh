// The pairwise engine on the device (contract: engines/pairwise.h; CPU: engines/pairwise_cpu.h).
//
// Products are the library's; what lies between them is fused. The scores are cut into *chunks*,
// rectangles in device memory within the workspace, one product each. A chunk is passed over by
//     row_states         scores → states of its rows           read
//     column_states      scores → states of its columns        read (symmetric losses)
//     column_sums        scores → sums of its columns          read (distances, key_bias)
//     coefficients       scores → w, in place                  read, write
// and multiplied into both gradients. Similarities are formed anew in each pass: they cost less
// than writing them. With G one n × m × d product:
//   forward            1 G; chunks as large as fits a cache, columns cut when rows are long.
//   forward_gradient   chunks of complete rows: states, rows, w: 3 G. Where too few rows fit,
//                      forward and backward: 4 G.
//   backward           rows known: 3 G more than a forward pass, whatever the chunk's shape.
//   symmetric          two passes, 4 G; 3 G when all scores fit.
//   one_pass           states and w in one pass, 3 G.
// With `tiles` a kernel of our own makes the scores where it saves writing them: of forward, of the
// first pass of symmetric losses whose scores are not kept, and of gradients of rows that are known
// (pairwise_tiles.cuh).
//
// Wide rows make short chunks: each reads and writes the whole key gradient, 8 · m · d bytes for
// 2 · rows · m · d operations, which is why the workspace is used up and not cut to a cache.
//
// Nothing waits for the device: weights, targets and the scale are read where they lie, and what a
// CPU would refuse becomes NaN (prepare_rows in pairwise_rows.cuh).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <type_traits>

#include "cuda/mma_coefficients.cuh"
#include "cuda/mma_operands.cuh"
#include "cuda/operands.cuh"
#include "cuda/pairwise_coefficients.cuh"
#include "cuda/pairwise_own.cuh"
#include "cuda/pairwise_rows.cuh"
#include "cuda/pairwise_scores.cuh"
#include "cuda/pairwise_target.cuh"
#include "engines/pairwise.h"

namespace fastloss::device {

template <class Loss, class S>
class PairwiseCuda {
 public:
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Row = typename Loss::Row;

  PairwiseCuda(Runtime& runtime, const PairwiseOnDevice<S, T>& input, const DeviceLoss<Loss>& loss);

  // All of them fill rows (n) and, if given, result.loss, the sum or mean; see `losses`.
  void forward(Row* rows, const PairwiseResultOnDevice<T>& result);
  void forward_gradient(Row* rows, const PairwiseResultOnDevice<T>& result);
  // With rows saved from a forward pass.
  void backward(const Row* rows, const PairwiseResultOnDevice<T>& result);

  // Symmetric losses, n = m: `cols` are the columns as rows.
  void symmetric_forward(Row* rows, Row* cols, const PairwiseResultOnDevice<T>& result);
  void symmetric_forward_gradient(Row* rows, Row* cols, const PairwiseResultOnDevice<T>& result);
  void symmetric_backward(const Row* rows, const Row* cols,
                          const PairwiseResultOnDevice<T>& result);

  // Losses without a normaliser.
  void one_pass_forward_gradient(Row* rows, const PairwiseResultOnDevice<T>& result);
  void one_pass_backward(const Row* rows, const PairwiseResultOnDevice<T>& result);

  // Each row's loss, times its factor. `cols` is null but for symmetric losses.
  void losses(const Row* rows, const Row* cols, T* out);

 private:
  // Rows and columns of the largest chunk.
  struct Shape {
    int64_t rows, cols;
  };
  using RowParts = RowSums<State, T>;
  using ColumnParts = ColumnSums<T>;

  struct Work;

  Chunk<T> chunk(T* scores, const Shape& shape, int64_t row, int64_t col) const {
    return {scores, padded(shape.cols),
            row,    std::min(shape.rows, in_.n - row),
            col,    std::min(shape.cols, in_.m - col)};
  }
  template <class Visit>
  void for_each_chunk(T* scores, const Shape& shape, const Visit& visit) const;
  Shape rectangle_of(int64_t bytes, int64_t cols, int64_t beside) const;
  Shape rectangle(int64_t bytes, int64_t rows, int64_t beside) const;
  Shape cut_shape(const PairwiseGradientsOnDevice<T>& gradients) const;
  Shape symmetric_shape() const;
  static int64_t parts(const Chunk<T>& chunk);
  static int64_t part_cols(const Chunk<T>& chunk, int64_t parts) {
    return cover(cover(chunk.cols, parts), 1024) * 1024;
  }
  static int64_t most_parts(const Shape& shape);
  static int64_t groups(int64_t rows) { return cover(rows, kGroupRows); }

  void score(const Chunk<T>& chunk);
  void push_rows(const Chunk<T>& chunk, State* partial, State* states);
  void all_states(State* states);
  void finish(const State* states, int64_t first, int64_t count, Row* rows) const;
  void own_scores();

  template <class Rule>
  void turn(const Chunk<T>& chunk, const Rule& rule, const PairwiseGradientsOnDevice<T>& gradients,
            Work& work);
  void multiply_gradients(const Chunk<T>& chunk, const PairwiseGradientsOnDevice<T>& gradients);
  template <class Rule>
  void all_chunks(const Rule& rule, const PairwiseGradientsOnDevice<T>& gradients, Work& work);
  template <class Rule>
  void finish_gradients(const Rule& rule, const Row* rows, const Row* cols,
                        const PairwiseResultOnDevice<T>& result, Work& work);
  void totals(const Row* rows, const Row* cols, const RowParts* sums,
              const PairwiseResultOnDevice<T>& result, T* overall);
  void clear(const PairwiseGradientsOnDevice<T>& gradients, const Work& work) const;
  void find_unit();
  bool short_chunk() const { return has_short_chunk<S>(in_.similarity); }

  using Aligned = std::conditional_t<mma::kHasTiles<S>, mma::AlignedOperands<S>, char>;
  const Aligned& aligned() {
    if (!aligned_) {
      aligned_.emplace(runtime_, in_.similarity, operands_.query(), operands_.key());
    }
    return *aligned_;
  }
  // Tiles' sums are as many as an eighth of the coefficients.
  int64_t chunk_bytes() const { return in_.tiles ? in_.workspace / 8 * 7 : in_.workspace; }
  mma::PairwiseMask tile_mask() const;
  bool push_by_tiles(State* rows, State* columns);
  template <class Rule>
  bool turn_by_tiles(const Chunk<T>& chunk, const Rule& rule,
                     const PairwiseGradientsOnDevice<T>& gradients, Work& work);

  void symmetric_states(Row* rows, Row* cols, bool kept, T* scores, const Shape& shape);
  void symmetric_gradients(const Row* rows, const Row* cols, bool scored,
                           const PairwiseResultOnDevice<T>& result, Work& work);
  void rows_at_once(Row* rows, const PairwiseResultOnDevice<T>& result);

  template <class Kernel, class... Arguments>
  void over_items(int64_t count, Kernel kernel, const Arguments&... arguments) const {
    launch(kernel, Grid{cover(count, kBlock)}, kBlock, runtime_.queue(), arguments...);
  }
  template <class Kernel, class... Arguments>
  void over_warps(int64_t count, Kernel kernel, const Arguments&... arguments) const {
    launch(kernel, Grid{cover(count, kWarpsOfBlock)}, kBlock, runtime_.queue(), arguments...);
  }

  Runtime& runtime_;
  PairwiseOnDevice<S, T> in_;
  DeviceLoss<Loss> loss_;
  Operands<S, T> operands_;
  Buffer<T> target_similarity_;
  Buffer<State> own_state_;   // of a row's own negatives
  Buffer<T> own_, own_norm_;  // their z, then w; their inverse norms
  Buffer<T> unit_place_;
  Scalar<T> unit_;
  Scores<S, T> scores_;
  std::optional<Aligned> aligned_;
};

}  // namespace fastloss::device

#include "cuda/pairwise_forward.cuh"
#include "cuda/pairwise_gradient.cuh"
#include "cuda/pairwise_onepass.cuh"
#include "cuda/pairwise_symmetric.cuh"
#include "cuda/pairwise_tiles.cuh"
