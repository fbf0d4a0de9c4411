// The engine of one set on the device (contract: engines/self.h; CPU: engines/self_cpu.h).
//
// Rows come in blocks. A block meets the candidates from its own first row on, and the others, in
// tiles that stay in the second-level cache: one product each. Of the square, the tiles on and
// above the diagonal are visited, and a score serves both of its rows (self_tiles.cuh). A tile is
// passed over by
//     push_self            scores → states of its rows and of its columns     read
//     differentiate_self   scores → coefficients w, and sums of them          read, write
// and w is multiplied into the gradients of its rows and of its columns. G is one n × n × d
// product:
//   forward            ½ G.
//   forward_gradient   rows are known only when all tiles have been seen (½ G). The first tiles are
//                      kept, as many as the workspace takes, the others recomputed (½ G); 1 G for
//                      the gradients: 2 G in all, 1½ if every tile was kept.
//   backward           the same without the first pass.
// With `tiles` a kernel of our own makes the scores of a first pass, or of a forward pass, none of
// which is then written. A loss of pairs has no first pass: 1½ G. Rows compared with others alone
// are complete after their block, whose tiles are all kept where they fit: 3 G, else 4 G. On top
// comes what lies below the diagonal in the tiles on it: as much as rows of a block are of n.
//
// All arrays are on the device; a functor's labels go kSelfPad beyond the last candidate. Nothing
// waits for the device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/mma_operands.cuh"
#include "cuda/mma_states.cuh"
#include "cuda/runtime.h"
#include "cuda/self_gradient.cuh"
#include "cuda/self_states.cuh"

namespace fastloss::device {

template <class Loss, class S>
class SelfCuda {
 public:
  using T = typename Loss::Value;
  using State = typename Loss::State;
  using Row = typename Loss::Row;
  using Result = SelfResultOnDevice<T>;
  using Gradients = SelfGradientsOnDevice<T>;

  // Fewer scores in a tile leave multiprocessors without work.
  static constexpr int64_t kFullTile = int64_t{1} << 21;

  SelfCuda(Runtime& runtime, const SelfOnDevice<S, T>& input, const Loss& loss,
           int64_t full_tile = kFullTile)
      : runtime_(runtime),
        in_(input),
        loss_(loss),
        full_tile_(full_tile),
        // Distances are taken around the mean of the keys: here, of the rows.
        operands_(runtime, input.similarity, input.others, input.k, input.rows, input.n, input.d),
        target_(runtime, Loss::kPaired ? input.n : 0) {}

  // All of them fill rows (n) and, if given, result.loss, the sum or mean; see `losses`.
  void forward(Row* rows, const Result& result);
  void forward_gradient(Row* rows, const Result& result);
  // With rows saved from a forward pass.
  void backward(const Row* rows, const Result& result);

  // Rows alone, of functors whose rows are no losses.
  void forward(Row* rows);

  // Each row's loss, times its factor.
  void losses(const Row* rows, T* out) {
    over_items(in_.n, losses_of_rows<Row, T>, rows, static_cast<const Row*>(nullptr), in_.factor,
               in_.n, out);
  }

 private:
  static constexpr bool kPairs = kIsOfPairs<Loss>;
  // Derivatives of pairs have no bound that float16 could be fitted to: their products are float's.
  static constexpr bool kWide = std::is_same_v<S, Float16> && kPairs;
  static constexpr int64_t kCacheBytes = int64_t{32} << 20;

  // Blocks of `rows` rows against runs of `cols` candidates; tiles are kept up to `kept` values.
  struct Plan {
    int64_t rows, cols, kept;
  };
  struct Memory;
  struct Work;

  const Side<S, T>& rows() const { return operands_.key(); }
  const Side<S, T>& others() const { return operands_.query(); }
  bool distance() const { return is_distance(in_.similarity); }

  static int64_t whole(int64_t rows) {
    return std::max<int64_t>(1, cover(rows, kSelfRows)) * kSelfRows;
  }
  Plan plan(bool gradient) const;
  // visit(tile, place) of the tiles of rows [first, last); a tile that is not kept has place −1.
  template <class Visit>
  void for_tiles(const Plan& plan, int64_t first, int64_t last, const Visit& visit) const;
  // Rows that become complete together.
  int64_t step(const Plan& plan) const { return in_.itself ? in_.n : plan.rows; }

  SelfScores<S, T> scores_of(const SelfTile& tile) const {
    return {in_.similarity, in_.scale,     rows(), tile.own ? rows() : others(),
            in_.n / 2,      target_.data()};
  }

  void multiply(const SelfTile& tile, T* products);
  void push(const SelfTile& tile, const T* products, const Memory& memory);
  bool push_by_tiles(State* states);
  void finish_rows(const State* states, int64_t first, int64_t last, Row* rows);

  template <class W>
  void turn(const SelfTile& tile, const T* products, W* out, const Work& work);
  void differentiate(const SelfTile& tile, T* products, const Gradients& gradients,
                     const Work& work);
  void totals(const Row* rows, const Result& result, T* overall, const Buffer<double>* moments);
  void finish(const Row* rows, const Result& result, const Work& work);
  void clear(const Gradients& gradients);
  void know(const Row* rows, Work& work);
  void widen(const Side<S, T>& side, T* out) const;

  template <class Kernel, class... Arguments>
  void over_items(int64_t count, Kernel kernel, const Arguments&... arguments) const {
    launch(kernel, Grid{cover(count, kBlock)}, kBlock, runtime_.queue(), arguments...);
  }
  // Kernels with blocks of kSelfThreads.
  template <class Kernel, class... Arguments>
  void over(Grid grid, Kernel kernel, const Arguments&... arguments) const {
    launch(kernel, grid, kSelfThreads, runtime_.queue(), arguments...);
  }
  static Grid blocks_of(int64_t count) { return {cover(count, kSelfThreads)}; }

  Runtime& runtime_;
  SelfOnDevice<S, T> in_;
  Loss loss_;
  int64_t full_tile_;
  Operands<S, T> operands_;  // query: the others; key: the rows
  Buffer<T> target_;         // (n): similarities of targets
};

}  // namespace fastloss::device

#include "cuda/self_passes.cuh"
