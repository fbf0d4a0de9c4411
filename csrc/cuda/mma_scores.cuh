// From a tile's accumulators to spans of scores: half a tile at a time goes through shared memory,
// where a thread finds kSpan neighbouring scores of a row, similarities made of products and masked
// scores −inf, as the losses' span functions want them; and, afterwards, kSpan of a column.
#pragma once

#include "core/math.h"
#include "cuda/mma_tile.cuh"
#include "cuda/operands.cuh"
#include "cuda/pairwise_input.h"
#include "engines/operand.h"
#include "engines/similarity.h"

namespace fastloss::mma {

// Both sides of the products and what makes similarities of them (engines/similarity.h).
template <class S>
struct Products {
  Rows<S> query, key;
  int64_t d;
  Similarity similarity;
  device::Scalar<float> scale;
  const float* query_statistic;  // (n): inverse norms, squared norms of the rows, or null: dot
  const float* key_statistic;    // (m)
  // The rows that close distances are recomputed from; of any alignment.
  Rows<S> direct_query, direct_key;
};

// Masks of the pairwise engine, and the target's similarity on its way out. `m` keys in all.
struct PairwiseMask {
  int64_t m;
  const int64_t* target;      // (n): a column, or −1
  const int64_t* group;       // (m): equal numbers for keys of one id; or null
  const float* bias;          // (m) or null
  float* target_similarity;   // (n): written where the target is met; or null
  const float* target_score;  // (n): for losses that need it first; or null

  // What a thread keeps of its row.
  struct OfRow {
    int64_t row, target;
    float target_score;
    bool ignored;
  };
  FASTLOSS_DEVICE OfRow of(int64_t row, int64_t n) const {
    const int64_t given = row < n ? target[row] : device::kNoTarget;
    const int64_t at = given < m ? given : device::kNoTarget;
    return {row, at, target_score != nullptr && row < n ? target_score[row] : 0.0f,
            given == device::kIgnoredRow};
  }

  // Whether the target is in the span, and then its similarity.
  template <int kCount>
  FASTLOSS_DEVICE bool take_target(const OfRow& of, int64_t column, int inside, float (&z)[kCount],
                                   float& met) const {
    const int64_t at = of.target - column;
    if (at < 0 || at >= inside) return false;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (j == at) {
        met = z[j];
        z[j] = -math::kInfinity<float>;
      }
    }
    return true;
  }
  template <int kCount>
  FASTLOSS_DEVICE void mask_group(const OfRow& of, int64_t column, int inside,
                                  float (&z)[kCount]) const {
    if (group == nullptr || of.target < 0) return;
    const int64_t own = group[of.target];
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (j < inside && group[column + j] == own) z[j] = -math::kInfinity<float>;
    }
  }
  FASTLOSS_DEVICE void apply(const OfRow& of, int64_t column, int inside, float (&z)[kSpan]) const {
    float met = 0;
    if (take_target(of, column, inside, z, met) && target_similarity != nullptr) {
      target_similarity[of.row] = met;
    }
    mask_group(of, column, inside, z);
  }
};

// Masks of one set against itself: of the square of the rows only what is above the diagonal, so
// that both rows of a pair see one number; the target of row i is row i ± n/2.
struct SelfMask {
  bool itself;               // the keys are the rows; else others, none of them masked
  int64_t half;              // n/2 if rows have targets, else 0
  float* target_similarity;  // (n) or null
  int64_t first;             // the candidate that the first key is

  static constexpr const float* bias = nullptr;

  struct OfRow {
    int64_t row;
    static constexpr float target_score = 0;
  };
  FASTLOSS_DEVICE OfRow of(int64_t row, int64_t) const { return {row}; }

  FASTLOSS_DEVICE void apply(const OfRow& of, int64_t column, int, float (&z)[kSpan]) const {
    if (!itself) return;
    const int64_t first = of.row + 1 - column, at = of.row + half - column;
    if (first > 0) {
#pragma unroll
      for (int j = 0; j < kSpan; ++j) {
        if (j < first) z[j] = -math::kInfinity<float>;
      }
    }
    if (half > 0 && of.row < half && at >= 0 && at < kSpan) {
      float met = 0;
#pragma unroll
      for (int j = 0; j < kSpan; ++j) {
        if (j == at) {
          met = z[j];
          z[j] = -math::kInfinity<float>;
        }
      }
      target_similarity[of.row] = met;
      target_similarity[of.row + half] = met;
    }
  }
};

// The shared memory of a block once the products are done.
template <class S>
class Scores {
 public:
  // All threads; the columns' numbers are there after the next barrier.
  FASTLOSS_DEVICE Scores(const Products<S>& products, const float* bias, int64_t column,
                         unsigned char* memory)
      : products_(products),
        scale_(products.scale.get()),
        scores_(reinterpret_cast<float*>(memory)),
        statistic_(reinterpret_cast<float*>(memory + kScoreBytes)),
        bias_(statistic_ + kTile),
        has_bias_(bias != nullptr) {
    const int t = device::thread();
    if (t < kTile) {
      const bool inside = column + t < products.key.count;
      statistic_[t] =
          inside && products.key_statistic != nullptr ? products.key_statistic[column + t] : 1.0f;
      bias_[t] = inside && has_bias_ ? bias[column + t] : 0.0f;
    }
  }

  // What lies behind the scores: kStateBytes.
  FASTLOSS_DEVICE uint32_t* beside() const { return reinterpret_cast<uint32_t*>(bias_ + kTile); }

  // Accumulators of the upper half; the lower half's move up.
  FASTLOSS_DEVICE void put(float (&acc)[kDown][kAcross][4]) const {
    const int lane = device::lane(), warp = device::warp();
#pragma unroll
    for (int i = 0; i < kDown / 2; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
#pragma unroll
        for (int p = 0; p < 2; ++p) {
          const int row = fragment_row(warp, i) + 8 * p + accumulator_row(lane);
          const int column = fragment_column(warp, j) + accumulator_column(lane);
          *reinterpret_cast<Two*>(scores_ + score_place(row, column)) = {acc[i][j][2 * p],
                                                                         acc[i][j][2 * p + 1]};
          acc[i][j][2 * p] = acc[i + kDown / 2][j][2 * p];
          acc[i][j][2 * p + 1] = acc[i + kDown / 2][j][2 * p + 1];
        }
      }
    }
  }

  template <int kCount>
  FASTLOSS_DEVICE void load(int row, int column, float (&z)[kCount]) const {
#pragma unroll
    for (int c = 0; c < kCount; c += 4) {
      const auto four = *reinterpret_cast<const Four*>(scores_ + score_place(row, column + c));
#pragma unroll
      for (int e = 0; e < 4; ++e) z[c + e] = four.of[e];
    }
  }
  template <int kCount>
  FASTLOSS_DEVICE void store(int row, int column, const float (&z)[kCount]) const {
#pragma unroll
    for (int c = 0; c < kCount; c += 4) {
      *reinterpret_cast<Four*>(scores_ + score_place(row, column + c)) = {
          {z[c], z[c + 1], z[c + 2], z[c + 3]}};
    }
  }
  FASTLOSS_DEVICE void load_column(int row, int column, float (&z)[kSpan]) const {
#pragma unroll
    for (int r = 0; r < kSpan; ++r) z[r] = scores_[score_place(row + r, column)];
  }

  // The span of row `row` of the half, row i of all, from `column` of the tile on; biases not
  // added, nothing masked.
  template <int kCount>
  FASTLOSS_DEVICE void similarities(int64_t i, int row, int64_t tile_column, int column,
                                    float row_statistic, float (&z)[kCount]) const {
    load(row, column, z);
    float cols[kCount];
#pragma unroll
    for (int j = 0; j < kCount; ++j) cols[j] = statistic_[column + j];
    if (similarities_of_span(products_.similarity, scale_, row_statistic, cols, z,
                             int64_t{kCount})) {
      recompute_close(i, row, tile_column, column, row_statistic, z);
    }
  }
  // How many of a span's scores there are.
  template <int kCount>
  FASTLOSS_DEVICE int inside(int64_t i, int64_t column) const {
    const int64_t left = products_.key.count - column;
    return i >= products_.query.count || left < 0 ? 0
           : left < kCount                        ? static_cast<int>(left)
                                                  : kCount;
  }
  template <int kCount>
  FASTLOSS_DEVICE static void mask_outside(int inside, float (&z)[kCount]) {
    if (inside == kCount) return;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      if (j >= inside) z[j] = -math::kInfinity<float>;
    }
  }

  template <int kCount>
  FASTLOSS_DEVICE void add_bias(int column, float (&z)[kCount]) const {
    if (!has_bias_) return;
#pragma unroll
    for (int j = 0; j < kCount; ++j) z[j] += bias_[column + j];
  }
  FASTLOSS_DEVICE float at(int row, int column) const { return scores_[score_place(row, column)]; }
  FASTLOSS_DEVICE float bias(int column) const { return bias_[column]; }
  FASTLOSS_DEVICE float statistic(int column) const { return statistic_[column]; }

 private:
  struct alignas(8) Two {
    float a, b;
  };
  struct alignas(16) Four {
    float of[4];
  };

  // A span of squared distances some of which are too small to have come from ‖q‖² + ‖k‖² − 2⟨q,
  // k⟩. Rare and long: it goes through shared memory, so that the loop is there once and not kSpan
  // times.
  template <int kCount>
  FASTLOSS_DEVICE void recompute_close(int64_t i, int row, int64_t tile_column, int column,
                                       float row_statistic, float (&z)[kCount]) const {
    store(row, column, z);
#pragma unroll 1
    for (int j = 0; j < kCount; ++j) {
      const int64_t k = tile_column + column + j;
      if (i >= products_.query.count || k >= products_.key.count) break;
      float& score = scores_[score_place(row, column + j)];
      float square = score;
      if (square < kDirectDistance<float> * (row_statistic + statistic_[column + j])) {
        square = detail::squared_distance<float>(
            products_.direct_query.data + i * products_.direct_query.stride,
            products_.direct_key.data + k * products_.direct_key.stride, products_.d);
      }
      if (products_.similarity == Similarity::kEuclidean) square = std::sqrt(square);
      score = -scale_ * square;
    }
    load(row, column, z);
  }

  const Products<S>& products_;
  float scale_;
  float* scores_;
  float* statistic_;
  float* bias_;
  bool has_bias_;
};

}  // namespace fastloss::mma
