// States of the rows, and of the columns, of all scores that are never written anywhere: a tile's
// scores feed one partial state a row and one a column, which are merged in the order of the tiles.
#pragma once

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/mma_scores.cuh"
#include "cuda/pairwise_input.h"
#include "cuda/runtime.h"
#include "cuda/self_states.cuh"
#include "engines/pairwise.h"

namespace fastloss::mma {

// The tiles of a launch: row tile block().x + row, column tile block().y + column.
struct Tiles {
  int64_t row, column;
  bool upper;  // tiles below the diagonal do nothing
};

// A span as the functor of an engine takes it: of row `row` from `column` on, or of a column from a
// row on. Of it, [begin, end) are scores that the row has.
template <class Loss>
FASTLOSS_DEVICE void push_span(const Loss& loss, const PairwiseMask&, float target_score,
                               int64_t /*row*/, int64_t column, int64_t /*begin*/, int64_t /*end*/,
                               const float (&s)[kSpan], typename Loss::State& state) {
  if constexpr (OnePass<Loss>) {
    float dscore[kSpan];
    state.merge(loss.slopes(s, kSpan, target_score, dscore));
  } else {
    const float no_bias[kSpan] = {};  // it has been added
    state.merge(loss.push(s, no_bias, column, kSpan));
  }
}
template <class Loss>
FASTLOSS_DEVICE void push_span(const Loss& loss, const SelfMask& mask, float, int64_t row,
                               int64_t column, int64_t begin, int64_t end, const float (&s)[kSpan],
                               typename Loss::State& state) {
  device::push_span(loss, s, row, column + mask.first, begin, end, state);
}

// States on their way through shared memory, word by word: lanes side by side meet no conflict.
template <class State>
class StateSlots {
 public:
  FASTLOSS_DEVICE explicit StateSlots(uint32_t* memory) : memory_(memory) {
    static_assert(sizeof(State) % sizeof(uint32_t) == 0);
    static_assert(kThreads * sizeof(State) <= kStateBytes);
  }

  FASTLOSS_DEVICE void put(const State& state) const {
    uint32_t words[kWords];
    memcpy(words, &state, sizeof(State));
#pragma unroll
    for (int w = 0; w < kWords; ++w) memory_[w * kThreads + device::thread()] = words[w];
  }
  // What thread `slot` has put there.
  FASTLOSS_DEVICE State get(int slot) const {
    uint32_t words[kWords];
#pragma unroll
    for (int w = 0; w < kWords; ++w) words[w] = memory_[w * kThreads + slot];
    State state;
    memcpy(&state, words, sizeof(State));
    return state;
  }
  // The states of `parts` threads, `stride` apart, in their order.
  FASTLOSS_DEVICE State merged(int first, int stride, int parts) const {
    State state = get(first);
#pragma unroll 1
    for (int part = 1; part < parts; ++part) state.merge(get(first + part * stride));
    return state;
  }

 private:
  static constexpr int kWords = sizeof(State) / sizeof(uint32_t);
  uint32_t* memory_;
};

// row_states is (column tiles, row tiles · kTile), col_states (row tiles, column tiles · kTile), of
// this launch's tiles. Arrays that the loss reads by row or column are as long as whole tiles.
template <class S, class Loss, class Mask, bool kColumns>
FASTLOSS_KERNEL(kThreads, kBlocks)
void tile_states(const Products<S> products, const Tiles tiles,
                 const device::DeviceLoss<Loss> functor, const Mask mask,
                 typename Loss::State* row_states, typename Loss::State* col_states) {
  using State = typename Loss::State;
  FASTLOSS_SHARED(unsigned char, memory, kSharedBytes);
  const int64_t row_tile = tiles.row + device::block().x, row = row_tile * kTile;
  const int64_t column_tile = tiles.column + device::block().y, column = column_tile * kTile;
  if (tiles.upper && column_tile < row_tile) return;

  float acc[kDown][kAcross][4];
  multiply_tile(products.query, row, products.key, column, products.d, memory, acc);

  const Loss loss = functor.get();
  const Scores<S> scores(products, mask.bias, column, memory);
  const StateSlots<State> slots(scores.beside());
  const int t = device::thread();
  State of_column;
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    scores.put(acc);
    device::barrier();
    const int64_t first = row + half * kHalf;
    const int64_t mine = first + span_row(t);
    const auto of = mask.of(mine, products.query.count);
    const float statistic = products.query_statistic != nullptr && mine < products.query.count
                                ? products.query_statistic[mine]
                                : 1.0f;
    State state;
#pragma unroll 1
    for (int s = 0; s < kTile / kRowParts; s += kSpan) {
      const int at = span_part(t) * (kTile / kRowParts) + s;
      float z[kSpan];
      scores.similarities(mine, span_row(t), column, at, statistic, z);
      const int inside = scores.template inside<kSpan>(mine, column + at);
      mask.apply(of, column + at, inside, z);
      scores.mask_outside(inside, z);
      scores.add_bias(at, z);
      if constexpr (kColumns) scores.store(span_row(t), at, z);
      // Losses read what they know of rows and columns, so far as there are any.
      const int64_t left = products.key.count - column - at;
      if (mine < products.query.count && left > 0) {
        push_span(loss, mask, of.target_score, mine, column + at,
                  tiles.upper ? mine + 1 - column - at : 0, left, z, state);
      }
    }
    slots.put(state);
    device::barrier();
    if (t < kHalf) {
      row_states[(device::block().y * device::blocks().x + device::block().x) * kTile +
                 half * kHalf + t] = slots.merged(t, kHalf, kRowParts);
    }
    if constexpr (kColumns) {
#pragma unroll 1
      for (int s = 0; s < kHalf / kColumnParts; s += kSpan) {
        const int at = column_part(t) * (kHalf / kColumnParts) + s;
        float z[kSpan];
        scores.load_column(at, column_of(t), z);
        const int64_t own = column + column_of(t), left = products.query.count - first - at;
        if (own < products.key.count && left > 0) {
          push_span(loss, mask, 0.0f, own, first + at, 0,
                    tiles.upper && own - first - at < left ? own - first - at : left, z, of_column);
        }
      }
      device::barrier();
    }
  }
  if constexpr (kColumns) {
    slots.put(of_column);
    device::barrier();
    if (t < kTile) {
      col_states[(device::block().x * device::blocks().y + device::block().y) * kTile + t] =
          slots.merged(t, kTile, kColumnParts);
    }
  }
}

// Partial states of one launch: `lines` of them, `length` apart, for each of `length` entries.
// With `upper`, line l of the entries of tile e is there only on one side of the diagonal.
struct Partials {
  int64_t lines, length;
  enum class There { kAll, kFrom, kUpTo } there;
  int64_t offset;  // from tile e + offset on, or up to it

  FASTLOSS_DEVICE int64_t begin(int64_t tile) const {
    return there == There::kFrom && tile + offset > 0 ? tile + offset : 0;
  }
  FASTLOSS_DEVICE int64_t end(int64_t tile) const {
    return there == There::kUpTo && tile + offset + 1 < lines ? tile + offset + 1 : lines;
  }
};

// Merges the partial states of entry i into total[i], i < count: a run of lines a warp, the warps
// in their order.
constexpr int kMergeThreads = 256;
template <class State>
FASTLOSS_KERNEL(kMergeThreads, 2)
void merge_partials(const State* partial, const Partials lines, int64_t count, State* total) {
  constexpr int kRuns = kMergeThreads / device::kWarp;
  FASTLOSS_SHARED(State, runs, kMergeThreads);
  const int64_t entry = device::block().x * device::kWarp + device::lane();
  const int64_t begin = lines.begin(entry / kTile), end = lines.end(entry / kTile);
  const int64_t each = (end - begin + kRuns - 1) / kRuns;
  const int64_t first = begin + device::warp() * each;
  const int64_t last = first + each < end ? first + each : end;
  State state;
  if (entry < count) {
    for (int64_t line = first; line < last; ++line) {
      state.merge(partial[line * lines.length + entry]);
    }
  }
  runs[device::thread()] = state;
  device::barrier();
  if (device::warp() > 0 || entry >= count) return;
  for (int run = 1; run < kRuns; ++run) state.merge(runs[run * device::kWarp + device::lane()]);
  State all = total[entry];
  all.merge(state);
  total[entry] = all;
}

template <class State>
FASTLOSS_KERNEL(kMergeThreads, 2)
void empty_states(int64_t count, State* states) {
  const int64_t i = device::block().x * kMergeThreads + device::thread();
  if (i < count) states[i] = State{};
}

// Merges the states of all scores of `products` into rows (n) and, if kColumns, columns (m), which
// hold states already. With `upper` the keys are the queries, and only tiles on and above the
// diagonal are made. Partial states take at most `bytes`, and one tile's.
template <class S, class Loss, class Mask, bool kColumns>
void add_states(device::Runtime& runtime, const Products<S>& products,
                const device::DeviceLoss<Loss>& loss, const Mask& mask, bool upper, int64_t bytes,
                typename Loss::State* rows, typename Loss::State* columns) {
  using State = typename Loss::State;
  const int64_t n = products.query.count, m = products.key.count;
  const int64_t row_tiles = device::cover(n, kTile), column_tiles = device::cover(m, kTile);
  const int64_t tile_bytes = kTile * static_cast<int64_t>(sizeof(State)) * (kColumns ? 2 : 1);
  // Squares of tiles: their rows and their keys come from the cache, and both have many partials.
  int64_t side = 64;
  while (side > 1 && side * side * tile_bytes > bytes) side /= 2;
  const int64_t down = std::min(side, row_tiles), across = std::min(side, column_tiles);
  const device::Buffer<State> of_rows(runtime, down * across * kTile);
  const device::Buffer<State> of_columns(runtime, kColumns ? down * across * kTile : 0);
  const device::Queue queue = runtime.queue();
  using There = Partials::There;

  for (int64_t r = 0; r < row_tiles; r += down) {
    for (int64_t c = upper ? r : 0; c < column_tiles; c += across) {
      const int64_t height = std::min(down, row_tiles - r),
                    width = std::min(across, column_tiles - c);
      device::launch(tile_states<S, Loss, Mask, kColumns>, {height, width}, kThreads, queue,
                     products, Tiles{r, c, upper}, loss, mask, of_rows.data(), of_columns.data());
      const int64_t row_count = std::min(height * kTile, n - r * kTile);
      device::launch(merge_partials<State>, {device::cover(row_count, device::kWarp)},
                     kMergeThreads, queue, of_rows.data(),
                     Partials{width, height * kTile, upper ? There::kFrom : There::kAll, r - c},
                     row_count, rows + r * kTile);
      if constexpr (kColumns) {
        const int64_t column_count = std::min(width * kTile, m - c * kTile);
        device::launch(merge_partials<State>, {device::cover(column_count, device::kWarp)},
                       kMergeThreads, queue, of_columns.data(),
                       Partials{height, width * kTile, upper ? There::kUpTo : There::kAll, c - r},
                       column_count, columns + c * kTile);
      }
    }
  }
}

}  // namespace fastloss::mma
