// Coefficients w of a chunk of scores that are never written themselves: products, similarities,
// ∂L/∂s and w in one kernel, where the rows are known. The rules are those of the library's path
// (pairwise_coefficients.cuh), and so are the sums.
#pragma once

#include "cuda/mma_states.cuh"
#include "cuda/pairwise_coefficients.cuh"

namespace fastloss::mma {

// Rows [row, row + rows) and columns [col, col + cols) of the scores, as w of type W: row r of the
// chunk at w + r · stride, a multiple of 8 values. All but `w` and `stride` as in device::Chunk.
template <class W>
struct Coefficients {
  W* w;
  int64_t stride;
  int64_t row, rows;
  int64_t col, cols;
};

// Whether the sums of the columns can be had: ∂L/∂s is kept to be summed before it becomes w, but
// Euclidean distances' w is not a multiple of it that the column knows. It is kept instead, so that
// of these two sums there is only the second.
inline bool has_column_sums(Similarity kind, bool of_bias) {
  return kind != Similarity::kEuclidean || !of_bias;
}

// row_sums is (column tiles, row tiles · kTile), column_sums (row tiles, column tiles · kTile) or
// null, of the chunk. `products` and the mask end with the chunk, but for mask.m.
template <class S, class W, class Rule>
FASTLOSS_KERNEL(kThreads, kBlocks)
void tile_coefficients(const Products<S> products, const Coefficients<W> chunk, const Rule rule,
                       const PairwiseMask mask, float margin, const device::Scalar<float> unit,
                       bool with_moment, device::RowSums<typename Rule::State, float>* row_sums,
                       device::ColumnSums<float>* column_sums) {
  using Sums = device::RowSums<typename Rule::State, float>;
  using ColumnSums = device::ColumnSums<float>;
  constexpr int kCount = device::kSpan;
  // Of losses of one pass, the moment is in the state.
  constexpr bool kMoments = !Rule::kWithState;
  FASTLOSS_SHARED(unsigned char, memory, kSharedBytes);
  const int64_t row = chunk.row + device::block().x * kTile;
  const int64_t column = chunk.col + device::block().y * kTile;

  float acc[kDown][kAcross][4];
  multiply_tile(products.query, row, products.key, column, products.d, memory, acc);

  const Scores<S> scores(products, mask.bias, column, memory);
  const int t = device::thread();
  const bool root = products.similarity == Similarity::kEuclidean;
  ColumnSums of_column;
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    scores.put(acc);
    device::barrier();
    const int64_t first = row + half * kHalf;
    const int64_t mine = first + span_row(t);
    Sums sums;
    if (mine < products.query.count) {
      const auto of_row = mask.of(mine, products.query.count);
      const auto of = rule.of(mine);
      const float statistic =
          products.query_statistic != nullptr ? products.query_statistic[mine] : 1.0f;
#pragma unroll 1
      for (int s = 0; s < kTile / kRowParts; s += kCount) {
        const int at = span_part(t) * (kTile / kRowParts) + s;
        float z[kCount], bias[kCount], dscore[kCount], w[kCount], met = 0;
        const int inside = scores.template inside<kCount>(mine, column + at);
        if (inside == 0) break;  // of columns beyond no rule knows
        scores.similarities(mine, span_row(t), column, at, statistic, z);
        const bool found = mask.take_target(of_row, column + at, inside, z, met);
        mask.mask_group(of_row, column + at, inside, z);
        scores.mask_outside(inside, z);
#pragma unroll
        for (int j = 0; j < kCount; ++j) bias[j] = scores.bias(at + j);
        rule.span(of, z, bias, column + at, dscore, sums.state);
        if (kMoments && with_moment) {
          float moment = 0;
#pragma unroll
          for (int j = 0; j < kCount; ++j) {
            moment += z[j] == -math::kInfinity<float> ? 0.0f : dscore[j] * z[j];
          }
          sums.moment += static_cast<double>(moment);
        }
        if (found) {
          // Losses of one pass finish their rows afterwards.
          if constexpr (Rule::kWithState) {
            if (mask.target_similarity != nullptr) mask.target_similarity[mine] = met;
          }
          const float off = products.scale.get() * margin;
          const float own_bias = mask.bias != nullptr ? mask.bias[of_row.target] : 0.0f;
          const float dtarget = rule.target(of, mine, met - off + own_bias, of_row.target);
          if (kMoments && with_moment) sums.moment += static_cast<double>(dtarget * (met - off));
#pragma unroll
          for (int j = 0; j < kCount; ++j) {
            if (column + at + j != of_row.target) continue;
            dscore[j] = dtarget;
            z[j] = met;
          }
        }
#pragma unroll
        for (int j = 0; j < kCount; ++j) {
          if (j >= inside || of_row.ignored) dscore[j] = 0;
          w[j] = coefficient(products.similarity, products.scale.get(), z[j],
                             statistic * scores.statistic(at + j), dscore[j]);
          sums.weight += w[j];
          if (root) dscore[j] = w[j];
        }
        scores.store(span_row(t), at, dscore);
      }
    }
    const StateSlots<Sums> slots(scores.beside());
    slots.put(sums);
    device::barrier();
    if (t < kHalf) {
      row_sums[(device::block().y * device::blocks().x + device::block().x) * kTile + half * kHalf +
               t] = slots.merged(t, kHalf, kRowParts);
    }
    if (column_sums != nullptr) {
      // What rows beyond the chunk hold is no number.
      const int rows = static_cast<int>(
          products.query.count - first < kHalf ? products.query.count - first : kHalf);
      const int begin = column_part(t) * (kHalf / kColumnParts);
      float sum = 0;
#pragma unroll 4
      for (int r = begin; r < begin + kHalf / kColumnParts; ++r) {
        if (r < rows) sum += scores.at(r, column_of(t));
      }
      const bool squares = products.similarity == Similarity::kSquaredEuclidean;
      of_column.merge({root ? 0.0f : sum, root      ? sum
                                          : squares ? 2 * products.scale.get() * sum
                                                    : 0.0f});
    }
    // A warp writes rows, a lane kCount neighbouring columns of each.
    const int at = device::lane() * kCount;
#pragma unroll 1
    for (int r = device::warp(); r < kHalf; r += kThreads / device::kWarp) {
      const int64_t i = first + r;
      if (i >= products.query.count || column + at >= products.key.count) break;
      const float statistic =
          products.query_statistic != nullptr ? products.query_statistic[i] : 1.0f;
      float dscore[kCount];
      W out[kCount];
      scores.load(r, at, dscore);
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const float w = root ? dscore[j]
                             : coefficient(products.similarity, products.scale.get(), 0.0f,
                                           statistic * scores.statistic(at + j), dscore[j]);
        out[j] = round_to<W>(w * unit.get());
      }
      device::store_span(chunk.w + (i - chunk.row) * chunk.stride + column - chunk.col + at, out);
    }
    device::barrier();
  }
  if (column_sums != nullptr) {
    const StateSlots<ColumnSums> slots(scores.beside());
    slots.put(of_column);
    device::barrier();
    if (t < kTile) {
      column_sums[(device::block().x * device::blocks().y + device::block().y) * kTile + t] =
          slots.merged(t, kTile, kColumnParts);
    }
  }
}

// Fills the chunk, and merges what it gives of sums: into rows[row] of its rows, which it starts
// when the chunk is its rows' first, and into columns[column] likewise. Null: not wanted.
// `products` are those of all rows; at most kMostColumns in a chunk.
constexpr int64_t kMostColumns = int64_t{65535} * kTile;
template <class S, class W, class Rule>
void fill_coefficients(device::Runtime& runtime, Products<S> products, const Coefficients<W>& chunk,
                       const Rule& rule, const PairwiseMask& mask, float margin,
                       const device::Scalar<float>& unit, bool with_moment,
                       device::RowSums<typename Rule::State, float>* rows,
                       device::ColumnSums<float>* columns) {
  using Sums = device::RowSums<typename Rule::State, float>;
  using ColumnSums = device::ColumnSums<float>;
  const device::Queue queue = runtime.queue();
  const int64_t down = device::cover(chunk.rows, kTile), across = device::cover(chunk.cols, kTile);
  products.query.count = chunk.row + chunk.rows;
  products.key.count = chunk.col + chunk.cols;
  const device::Buffer<Sums> of_rows(runtime, down * across * kTile);
  const device::Buffer<ColumnSums> of_columns(runtime, columns ? down * across * kTile : 0);
  device::launch(tile_coefficients<S, W, Rule>, {down, across}, kThreads, queue, products, chunk,
                 rule, mask, margin, unit, with_moment, of_rows.data(),
                 columns ? of_columns.data() : nullptr);
  const auto merge = [&](const auto* partial, int64_t lines, int64_t width, int64_t count,
                         bool first, auto* total) {
    using Sum = std::remove_pointer_t<decltype(total)>;
    if (first) {
      device::launch(empty_states<Sum>, {device::cover(count, kMergeThreads)}, kMergeThreads, queue,
                     count, total);
    }
    device::launch(merge_partials<Sum>, {device::cover(count, device::kWarp)}, kMergeThreads, queue,
                   partial, Partials{lines, width * kTile, Partials::There::kAll, 0}, count, total);
  };
  if (rows) merge(of_rows.data(), across, down, chunk.rows, chunk.col == 0, rows + chunk.row);
  if (columns) {
    merge(of_columns.data(), down, across, chunk.cols, chunk.row == 0, columns + chunk.col);
  }
}

}  // namespace fastloss::mma
