// SelfCuda: tiles, memory and passes over them (included by self.cuh).
#pragma once

#include "cuda/self.cuh"

namespace fastloss::device {

// Beside its products a tile takes a 16-bit copy and partial states or sums, in all less than as
// much again.
template <class Loss, class S>
typename SelfCuda<Loss, S>::Plan SelfCuda<Loss, S>::plan(bool gradient) const {
  constexpr int64_t kSize = sizeof(T);
  const int64_t most = std::max(in_.itself ? in_.n : 0, in_.k);
  if (gradient && !kPairs && !in_.itself && in_.k > 0) {
    // Complete rows, unless their blocks were so low that reading and writing the gradients of all
    // others once a block cost more than a product.
    constexpr int64_t kLow = sizeof(S) == 2 ? 512 : 128;
    const int64_t cols = padded(in_.k);
    const int64_t fit = in_.workspace / 2 / kSize / cols / kSelfRows * kSelfRows;
    if (fit >= std::min(whole(in_.n), kLow)) {
      const int64_t wanted = std::max(kLow, whole(kCacheBytes / kSize / cols));
      const int64_t rows = std::min({whole(in_.n), fit, wanted});
      return {rows, cols, rows * cols};
    }
  }
  // A kept tile that has left the cache comes from memory: of few 16-bit features, a product is
  // as fast. Where but a few tiles of many would be kept, they are larger instead.
  const int64_t all = in_.n * (in_.n / 2 + in_.k);
  const int64_t room = std::min(in_.workspace / 2, sizeof(S) == 2 ? kCacheBytes : in_.workspace);
  const bool keeps = gradient && !kPairs && in_.itself && all * kSize <= 2 * room;
  const int64_t bytes = std::min(in_.workspace / (keeps ? 4 : 2), kCacheBytes);
  const int64_t values = bytes / 2 / kSize;
  int64_t rows = std::max(whole(std::clamp<int64_t>(in_.n / 16, 256, 1024)),
                          whole(full_tile_ / std::max<int64_t>(1, most)));
  rows = std::min(rows, whole(in_.n));
  const auto wide = [&] {
    return std::clamp(values / rows / kSelfRows * kSelfRows, kSelfRows, whole(most));
  };
  while (rows > kSelfRows && wide() < std::min(rows, whole(most))) rows = whole(rows / 2);
  return {rows, wide(), keeps ? room / kSize : 0};
}

template <class Loss, class S>
template <class Visit>
void SelfCuda<Loss, S>::for_tiles(const Plan& plan, int64_t first, int64_t last,
                                  const Visit& visit) const {
  int64_t place = 0;
  for (int64_t row = first; row < last; row += plan.rows) {
    const int64_t rows = std::min(plan.rows, last - row);
    const auto side = [&](int64_t from, int64_t count, bool own) {
      for (int64_t index = from; index < count; index += plan.cols) {
        const int64_t cols = std::min(plan.cols, count - index);
        const SelfTile tile{padded(cols), row, rows, cols, own ? index : in_.n + index, index, own};
        const int64_t values = rows * tile.stride;
        const bool kept = place + values <= plan.kept;
        visit(tile, kept ? place : int64_t{-1});
        if (kept) place += values;
      }
    };
    if (in_.itself) side(row, in_.n, true);
    side(0, in_.k, false);
  }
}

// Tiles, and the states of rows and of their parts.
template <class Loss, class S>
struct SelfCuda<Loss, S>::Memory {
  // As much as the largest tile takes.
  struct Sizes {
    int64_t kept = 0, scratch = 0, most = 0;                     // values
    int64_t of_rows = 0, of_cols = 0;                            // partial states
    int64_t sums_of_rows = 0, sums_of_cols = 0, sum_blocks = 0;  // partial sums

    Sizes(const SelfCuda& engine, const Plan& plan) {
      constexpr SelfPartition kParts = SelfSquares<Loss>::kPartition;
      const int64_t last = std::min(engine.in_.n, engine.step(plan));
      engine.for_tiles(plan, 0, last, [&](const SelfTile& tile, int64_t place) {
        const auto grow = [](int64_t& size, int64_t to) { size = std::max(size, to); };
        const int64_t values = tile.rows * tile.stride;
        grow(place < 0 ? scratch : kept, std::max<int64_t>(place, 0) + values);
        grow(most, values);
        grow(of_rows, kParts.of_rows(tile));
        if (tile.own && !kPairs) grow(of_cols, kParts.of_cols(tile));
        grow(sums_of_rows, kSelfSumParts.of_rows(tile));
        grow(sums_of_cols, kSelfSumParts.of_cols(tile));
        grow(sum_blocks, cover(tile.cols, kSelfStrip) * cover(tile.rows, kSelfRows));
      });
    }
  };

  Memory(const SelfCuda& engine, const Plan& plan, bool with_states)
      : sizes(engine, plan),
        kept(engine.runtime_, sizes.kept),
        scratch(engine.runtime_, sizes.scratch),
        states(engine.runtime_, with_states ? engine.in_.n : 0),
        of_rows(engine.runtime_, with_states ? sizes.of_rows : 0),
        of_cols(engine.runtime_, with_states ? sizes.of_cols : 0) {
    engine.over_items(states.size(), fill<State>, states.data(), states.size(), State{});
  }

  T* at(int64_t place) const { return place < 0 ? scratch.data() : kept.data() + place; }

  Sizes sizes;
  Buffer<T> kept, scratch;
  Buffer<State> states;  // (n)
  Buffer<State> of_rows, of_cols;
};

template <class Loss, class S>
void SelfCuda<Loss, S>::multiply(const SelfTile& tile, T* products) {
  const Side<S, T>& side = tile.own ? rows() : others();
  runtime_.multiply(rows().rows(tile.row, tile.rows), side.rows(tile.index, tile.cols).flipped(),
                    products, tile.stride, false);
}

template <class Loss, class S>
void SelfCuda<Loss, S>::push(const SelfTile& tile, const T* products, const Memory& memory) {
  constexpr SelfPartition kParts = SelfSquares<Loss>::kPartition;
  State* const of_cols = tile.own && !kPairs ? memory.of_cols.data() : nullptr;
  over(Grid{cover(tile.cols, kParts.strip), cover(tile.rows, kSelfRows)},
       distance() ? push_self<Loss, true, S> : push_self<Loss, false, S>, tile, products,
       scores_of(tile), loss_, memory.of_rows.data(), of_cols);
  over(blocks_of(tile.rows + (of_cols != nullptr ? tile.cols : 0)), merge_self<State>, tile, kParts,
       memory.of_rows.data(), of_cols, memory.states.data());
}

// Adds the states of all scores by the tensor-core kernels, if they are to make them.
template <class Loss, class S>
bool SelfCuda<Loss, S>::push_by_tiles(State* states) {
  if constexpr (mma::kHasTiles<S>) {
    if (!in_.tiles) return false;
    const mma::AlignedOperands<S> aligned(runtime_, in_.similarity, others(), rows());
    const DeviceLoss<Loss> loss{loss_};
    const int64_t bytes = in_.workspace / 4;
    if (in_.itself) {
      const mma::SelfMask mask{true, Loss::kPaired ? in_.n / 2 : 0, target_.data(), 0};
      mma::add_states<S, Loss, mma::SelfMask, !kPairs>(
          runtime_, aligned.products_of_keys(in_.scale), loss, mask, true, bytes, states, states);
    }
    mma::add_states<S, Loss, mma::SelfMask, false>(runtime_, aligned.products_turned(in_.scale),
                                                   loss, mma::SelfMask{false, 0, nullptr, in_.n},
                                                   false, bytes, states, nullptr);
    return true;
  } else {
    return false;
  }
}

template <class Loss, class S>
void SelfCuda<Loss, S>::finish_rows(const State* states, int64_t first, int64_t last, Row* rows) {
  over(blocks_of(last - first), finish_self<Loss>, loss_, states + first,
       Loss::kPaired ? target_.data() + first : nullptr, last - first, rows + first);
}

template <class Loss, class S>
void SelfCuda<Loss, S>::forward(Row* rows) {
  if (in_.n == 0) return;
  if (in_.tiles && mma::kHasTiles<S>) {
    const Buffer<State> states(runtime_, in_.n);
    over_items(in_.n, fill<State>, states.data(), in_.n, State{});
    push_by_tiles(states.data());
    return finish_rows(states.data(), 0, in_.n, rows);
  }
  const Plan plan = this->plan(false);
  const Memory memory(*this, plan, true);
  for_tiles(plan, 0, in_.n, [&](const SelfTile& tile, int64_t place) {
    multiply(tile, memory.at(place));
    push(tile, memory.at(place), memory);
  });
  finish_rows(memory.states.data(), 0, in_.n, rows);
}

}  // namespace fastloss::device

#include "cuda/self_turn.cuh"
