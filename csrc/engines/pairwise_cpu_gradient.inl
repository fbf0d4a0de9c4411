// PairwiseCpu: chunks of the score matrix and the gradients they give (included by pairwise_cpu.h).

namespace fastloss {

// Chunks shorter than this pay more for reading and writing the key gradient again and again than
// recomputing the scores would cost.
constexpr int64_t kMinChunkRows = 64;
// Chunks beyond this size only leave the cache.
constexpr int64_t kChunkBytes = int64_t{16} << 20;

template <class Loss, class S>
struct PairwiseCpu<Loss, S>::Accumulators {
  // Chunk capacity: `rows` rows of `panels` panels.
  Accumulators(const PairwiseCpu& engine, const PairwiseGradients<T>& gradients, int64_t rows,
               int64_t panels, bool with_spans)
      : capacity(rows),
        step(tile_rows(rows)),
        distance(is_distance(engine.in_.similarity)),
        scores(panels * rows * engine.cols_),
        spans(with_spans ? panels * rows : 0),
        queries(gradients.key ? engine.in_.d * rows : 0),
        row_moment(gradients.scale ? engine.in_.n : 0, 0.0),
        row_sum(distance ? engine.in_.n : 0, T(0)),
        col_sum(distance && gradients.key ? engine.in_.m : 0, T(0)),
        ranges(engine.ranges_of(rows, panels)),
        part_query(gradients.query ? ranges * rows * engine.in_.d : 0),
        part_moment(gradients.scale ? ranges * rows : 0),
        part_row_sum(distance ? ranges * rows : 0),
        block_bias(gradients.key_bias && !ranges ? blocks() * panels * engine.cols_ : 0),
        block_col_sum(col_sum.size() && !ranges ? blocks() * panels * engine.cols_ : 0) {}

  int64_t blocks() const { return (capacity + step - 1) / step; }

  int64_t capacity;
  int64_t step;  // rows of a block that one task turns into coefficients
  bool distance;
  host::Buffer<T> scores;           // the chunk: scores, then coefficients w
  host::Buffer<State> spans;        // (panels, rows): state of every span of the chunk
  host::Buffer<T> queries;          // (d, capacity): the chunk's queries, feature-major
  host::Buffer<double> row_moment;  // (n): Σ_j ∂L/∂s_ij · z_ij
  host::Buffer<T> row_sum;          // (n): Σ_j w_ij
  host::Buffer<T> col_sum;          // (m): Σ_i w_ij
  int64_t ranges;                   // of panels, with a part each; 0: blocks of rows instead
  host::Buffer<T> part_query;       // per range, per row of the chunk: its query gradient
  host::Buffer<double> part_moment;
  host::Buffer<T> part_row_sum;
  host::Buffer<T> block_bias;     // per block of rows, per column of the chunk: Σ ∂L/∂s
  host::Buffer<T> block_col_sum;  // the same of w
};

enum ChunkMode { kWeigh, kPush, kScoresOnly };

// Makes the chunk's tiles; visit(panel, row, span) meets every row of each while it is in cache.
template <class Loss, class S>
template <class Visit>
void PairwiseCpu<Loss, S>::chunk_tiles(const Chunk& chunk, Accumulators& acc, const Visit& visit) {
  // One task packs a panel once and meets it with a run of blocks; short runs if panels are few.
  const int64_t all_blocks = blocks(chunk.rows);
  const int64_t wanted = (2 * host::threads() + chunk.panels - 1) / chunk.panels;
  const int64_t runs = std::min(all_blocks, wanted);
  host::for_each_task(chunk.panels * runs, [&](int64_t task, int64_t slot) {
    const int64_t p = task / runs, run = task % runs;
    const int64_t panel = chunk.panel + p;
    pack_panel(panel, slot);
    for (int64_t b = run * all_blocks / runs; b < (run + 1) * all_blocks / runs; ++b) {
      const int64_t r0 = b * block_;
      T* const out = acc.scores.data() + (p * acc.capacity + r0) * cols_;
      const int64_t row = chunk.row + r0;
      score_tile(row, std::min(block_, chunk.rows - r0), panel, slot, out,
                 [=, &visit](int64_t r, T* span)
                     FASTLOSS_SIMD_LOOP { visit(panel, row + r, span); });
    }
    host::multiply_done();
  });
}

// Fills the chunk with similarities (kScoresOnly, kPush) or weights (kWeigh), and the span states.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::chunk_scores(const Chunk& chunk, Accumulators& acc, int mode) {
  State* const spans = acc.spans.data();
  const int64_t capacity = acc.capacity;
  chunk_tiles(chunk, acc, [=, this](int64_t panel, int64_t row, T* span) FASTLOSS_SIMD_LOOP {
    if constexpr (!kOfCompleteRows<Loss>) {
      if (mode == kScoresOnly) return;
      const T* const factor = operands_.key_statistic.data() + panel * cols_;
      spans[(panel - chunk.panel) * capacity + row - chunk.row] =
          mode == kWeigh ? loss_.weigh(span, bias_of(panel), factor, panel_width(panel))
                         : push(row, panel, span);
    }
  });
}

// Turns `count` rows of a tile from similarities, or weights, into coefficients, in place; `place`
// is the tile's first row in acc.spans. Sums belong to the tile: entry 0 is its first row or
// column.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::tile_coefficients(int64_t row0, int64_t count, int64_t panel,
                                             int64_t place, const Derivatives& derivatives,
                                             const TileSums& sums, Accumulators& acc,
                                             bool weighed) const {
  const int64_t width = panel_width(panel);
  T* const tile = acc.scores.data() + place * cols_;
  simd::dispatch([=, this, &derivatives, &acc]() FASTLOSS_SIMD_LOOP {
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = row0 + r;
      T* const span = tile + r * cols_;
      if constexpr (Derivatives::kFormed) {
        if (acc.distance) sum_coefficients(r, width, span, sums);
      } else {
        if (weighed) {
          if constexpr (Derivatives::kOfRows) {
            const T factor = derivatives.row_grad(row) *
                             loss_.weigh_factor(acc.spans[place + r], derivatives.rows[row]);
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) span[j] *= factor;
          }
        } else {
          coefficients_of_span(row, r, panel, derivatives, span, sums);
        }
        set_target(row, r, panel, derivatives.of_target(row), span, sums);
      }
    }
  });
}

// The general way from scores to coefficients, in place.
template <class Loss, class S>
template <class Derivatives>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::coefficients_of_span(int64_t row, int64_t r,
                                                                     int64_t panel,
                                                                     const Derivatives& derivatives,
                                                                     T* __restrict span,
                                                                     const TileSums& sums) const {
  const int64_t width = panel_width(panel);
  const T* __restrict cols = operands_.key_statistic.data() + panel * cols_;
  T* __restrict bias_sum = sums.bias;
  T* __restrict col_sum = sums.col;
  T dscore[kMaxTileCols];
  derivatives.of_span(row, span, bias_of(panel), panel * cols_, width, dscore);
  if (sums.moment) {
    T moment = 0;
#pragma omp simd reduction(+ : moment)
    for (int64_t j = 0; j < width; ++j) {
      moment += span[j] == -math::kInfinity<T> ? T(0) : dscore[j] * span[j];
    }
    sums.moment[r] += static_cast<double>(moment);
  }
  if (bias_sum) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) bias_sum[j] += dscore[j];
  }
  if (!is_distance(in_.similarity)) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) span[j] = dscore[j] * cols[j];
    return;
  }
  sums.row[r] += coefficients_of_distances(in_.similarity, in_.scale, T(1), dscore, span, width);
  if (col_sum) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) col_sum[j] += span[j];
  }
}

// Sums of coefficients that stand in the tile already.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::sum_coefficients(int64_t r, int64_t width,
                                                                 const T* __restrict span,
                                                                 const TileSums& sums) const {
  T* __restrict col_sum = sums.col;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < width; ++j) sum += span[j];
  sums.row[r] += sum;
  if (col_sum) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) col_sum[j] += span[j];
  }
}

// The target's element, which the loops above saw masked.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::set_target(int64_t row, int64_t r, int64_t panel,
                                                           T dscore, T* span,
                                                           const TileSums& sums) const {
  const int64_t j = in_.target[row] - panel * cols_;
  if (j < 0 || j >= panel_width(panel)) return;
  const T z = target_similarity_[row];
  const T w =
      coefficient(in_.similarity, in_.scale, z, operands_.key_statistic[in_.target[row]], dscore);
  span[j] = w;
  if (sums.moment) sums.moment[r] += static_cast<double>(dscore * (z - in_.scale * in_.margin));
  if (sums.bias) sums.bias[j] += dscore;
  if (sums.row) sums.row[r] += w;
  if (sums.col) sums.col[j] += w;
}

// Turns the chunk's tiles into coefficients and multiplies them into the gradients.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::chunk_gradients(const Chunk& chunk, const Derivatives& derivatives,
                                           const PairwiseGradients<T>& gradients, Accumulators& acc,
                                           bool weighed) {
  if (acc.ranges > 0) {
    chunk_by_panels(chunk, derivatives, gradients, acc, weighed);
  } else {
    chunk_by_rows(chunk, derivatives, gradients, acc, weighed);
  }
}

// Blocks of rows own the rows of the query gradient; then panels own the columns of the other.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::chunk_by_rows(const Chunk& chunk, const Derivatives& derivatives,
                                         const PairwiseGradients<T>& gradients, Accumulators& acc,
                                         bool weighed) {
  const int64_t d = in_.d;
  const int64_t wide = chunk.panels * cols_;
  const int64_t step = acc.step;
  const int64_t steps = (chunk.rows + step - 1) / step;
  host::for_each_task(steps, [&](int64_t block, int64_t slot) {
    const int64_t r0 = block * step;
    const int64_t count = std::min(step, chunk.rows - r0);
    const int64_t row0 = chunk.row + r0;
    T* const bias_sums = gradients.key_bias ? acc.block_bias.data() + block * wide : nullptr;
    T* const col_sums = acc.col_sum.size() ? acc.block_col_sum.data() + block * wide : nullptr;
    if (bias_sums) std::fill(bias_sums, bias_sums + wide, T(0));
    if (col_sums) std::fill(col_sums, col_sums + wide, T(0));
    if (gradients.key) {
      operands_.query.transposed(row0, count, row_factor(row0), strip(slot),
                                 acc.queries.data() + chunk.place + r0, acc.capacity);
    }
    for (int64_t p = 0; p < chunk.panels; ++p) {
      const int64_t panel = chunk.panel + p;
      const int64_t width = panel_width(panel);
      const int64_t place = p * acc.capacity + chunk.place + r0;
      const TileSums sums{acc.row_moment.size() ? acc.row_moment.data() + row0 : nullptr,
                          acc.row_sum.size() ? acc.row_sum.data() + row0 : nullptr,
                          bias_sums ? bias_sums + p * cols_ : nullptr,
                          col_sums ? col_sums + p * cols_ : nullptr};
      tile_coefficients(row0, count, panel, place, derivatives, sums, acc, weighed);
      if (gradients.query) {
        host::multiply(count, d, width, acc.scores.data() + place * cols_, cols_,
                       operands_.key.block(panel * cols_, width, key_copy(slot)), d,
                       gradients.query + row0 * d, d, !(chunk.first_panels && p == 0));
      }
    }
    host::multiply_done();
  });
  if (!gradients.key && !gradients.key_bias) return;
  // Where panels are few, a task owns some of their features.
  const int64_t slices =
      std::min((d + 15) / 16, (2 * host::threads() + chunk.panels - 1) / chunk.panels);
  host::for_each_task(chunk.panels * slices, [&](int64_t task, int64_t) {
    const int64_t p = task / slices, slice = task % slices;
    const int64_t panel = chunk.panel + p;
    const int64_t width = panel_width(panel);
    if (gradients.key) {
      const int64_t from = slice * d / slices, to = (slice + 1) * d / slices;
      host::multiply(to - from, width, chunk.rows,
                     acc.queries.data() + from * acc.capacity + chunk.place, acc.capacity,
                     acc.scores.data() + (p * acc.capacity + chunk.place) * cols_, cols_,
                     gradients.key + panel * cols_ * d + from * width, width, !chunk.first_rows);
      host::multiply_done();
    }
    if (slice != 0) return;
    for (int64_t block = 0; block < steps; ++block) {
      for (int64_t j = 0; j < width; ++j) {
        const int64_t from = block * wide + p * cols_ + j;
        if (gradients.key_bias) gradients.key_bias[panel * cols_ + j] += acc.block_bias[from];
        if (acc.col_sum.size()) acc.col_sum[panel * cols_ + j] += acc.block_col_sum[from];
      }
    }
  });
}

// For few rows and many panels: a tile meets both products while it is in cache. A task owns a
// range of panels, and of the rows' gradients and sums a part of its own; the parts are added in
// the order of the ranges.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::chunk_by_panels(const Chunk& chunk, const Derivatives& derivatives,
                                           const PairwiseGradients<T>& gradients, Accumulators& acc,
                                           bool weighed) {
  const int64_t d = in_.d, rows = chunk.rows, ranges = std::min(acc.ranges, chunk.panels);
  if (gradients.key) {
    operands_.query.transposed(chunk.row, rows, row_factor(chunk.row), strip(0), acc.queries.data(),
                               acc.capacity);
  }
  std::fill(acc.part_moment.data(), acc.part_moment.data() + acc.part_moment.size(), 0.0);
  std::fill(acc.part_row_sum.data(), acc.part_row_sum.data() + acc.part_row_sum.size(), T(0));
  host::for_each_task(ranges, [&](int64_t range, int64_t slot) {
    T* const part = acc.part_query.data() + range * acc.capacity * d;
    const int64_t first = range * chunk.panels / ranges, last = (range + 1) * chunk.panels / ranges;
    for (int64_t p = first; p < last; ++p) {
      const int64_t panel = chunk.panel + p;
      const int64_t column = panel * cols_, width = panel_width(panel);
      const TileSums sums{
          acc.part_moment.size() ? acc.part_moment.data() + range * acc.capacity : nullptr,
          acc.part_row_sum.size() ? acc.part_row_sum.data() + range * acc.capacity : nullptr,
          gradients.key_bias ? gradients.key_bias + column : nullptr,
          acc.col_sum.size() ? acc.col_sum.data() + column : nullptr};
      const T* const tile = acc.scores.data() + p * acc.capacity * cols_;
      tile_coefficients(chunk.row, rows, panel, p * acc.capacity, derivatives, sums, acc, weighed);
      if (gradients.query) {
        host::multiply(rows, d, width, tile, cols_,
                       operands_.key.block(column, width, key_copy(slot)), d, part, d, p > first);
      }
      if (gradients.key) {
        host::multiply(d, width, rows, acc.queries.data(), acc.capacity, tile, cols_,
                       gradients.key + column * d, width, !chunk.first_rows);
      }
    }
    host::multiply_done();
  });
  for (int64_t range = 0; range < ranges; ++range) {
    const T* const part = acc.part_query.data() + range * acc.capacity * d;
    T* const query = gradients.query + chunk.row * d;
    const bool store = chunk.first_panels && range == 0;
    for (int64_t i = 0; gradients.query && i < rows * d; ++i) {
      query[i] = store ? part[i] : query[i] + part[i];
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = range * acc.capacity + r;
      if (acc.row_moment.size()) acc.row_moment[chunk.row + r] += acc.part_moment[from];
      if (acc.row_sum.size()) acc.row_sum[chunk.row + r] += acc.part_row_sum[from];
    }
  }
}

// Inverse norms that the queries carry in the key gradient; the other similarities need no factor.
template <class Loss, class S>
const typename Loss::Value* PairwiseCpu<Loss, S>::row_factor(int64_t row) const {
  return in_.similarity == Similarity::kCosine ? operands_.query_statistic.data() + row : nullptr;
}

// What remains of the query gradient: own negatives, then the factor and the second term of the
// similarity's derivative.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::finish_queries(const Derivatives& derivatives,
                                          const PairwiseGradients<T>& gradients, Accumulators& acc,
                                          T overall) {
  const bool own = in_.h > 0 && (gradients.query || gradients.own || gradients.scale);
  if (!gradients.query && !own) return;
  host::for_each_task(blocks(in_.n), [&](int64_t block, int64_t slot) {
    T* const query = query_copy(slot);
    T* const key = key_copy(slot);
    simd::dispatch([=, this, &derivatives, &gradients, &acc]() FASTLOSS_SIMD_LOOP {
      const int64_t d = in_.d;
      const Operand<S, T> negatives{in_.negatives, in_.n * in_.h, d};
      const int64_t last = std::min(in_.n, (block + 1) * block_);
      for (int64_t i = block * block_; i < last; ++i) {
        T* __restrict grad = gradients.query ? gradients.query + i * d : nullptr;
        operands_.query.load(i, query);
        const T unit = operands_.query_statistic[i];
        const T magnitude =
            operands_.query.magnitude != nullptr ? operands_.query.magnitude[i] : T(1);
        for (int64_t k = 0; own && k < in_.h; ++k) {
          const T z = own_[i * in_.h + k];
          T dscore = 0;
          if constexpr (Derivatives::kOfRows) dscore = derivatives.of_own(i, z);
          negatives.load(i * in_.h + k, key);
          const T norm = in_.similarity == Similarity::kCosine ? inverse_norm(key, d) : T(1);
          const T w = coefficient(in_.similarity, in_.scale, z, norm, dscore);
          if (gradients.scale && dscore != T(0)) {
            acc.row_moment[i] += static_cast<double>(dscore * z);
          }
          if (acc.distance) {
            // The difference itself: nothing cancels when the rows share an offset.
            if (grad) {
              const S* const stored = in_.query + i * d;
#pragma omp simd
              for (int64_t c = 0; c < d; ++c) grad[c] += w * (key[c] - static_cast<T>(stored[c]));
            }
          } else if (grad) {
#pragma omp simd
            for (int64_t c = 0; c < d; ++c) grad[c] += w * key[c];
          }
          if (gradients.own) {
            T* const out = gradients.own + 2 * (i * in_.h + k);
            const T factor = unit * magnitude;  // 1 for dot; squared norms do not enter
            out[0] = similarity_factor(overall) * (acc.distance ? w : w * factor);
            out[1] = acc.distance ? T(1)
                     : in_.similarity == Similarity::kDot || factor == T(0)
                         ? T(0)
                         : z * norm / (in_.scale * factor);
          }
        }
        if (grad) {
          const bool cosine = in_.similarity == Similarity::kCosine;
          finish_row_gradient(query, unit,
                              similarity_factor(overall) * (cosine ? unit * magnitude : T(1)),
                              acc.distance ? acc.row_sum[i] : T(0), grad);
        }
      }
    });
  });
}

// From Σ w · (other rows) to the gradient of one row x (as multiplied), in place.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::finish_row_gradient(const T* __restrict x, T unit,
                                                                    T factor, T sum,
                                                                    T* __restrict grad) const {
  const int64_t d = in_.d;
  if (is_distance(in_.similarity)) {
#pragma omp simd
    for (int64_t c = 0; c < d; ++c) grad[c] = factor * (grad[c] - sum * x[c]);
    return;
  }
  const T along =
      in_.similarity == Similarity::kCosine ? detail::dot(grad, x, d) * unit * unit : T(0);
#pragma omp simd
  for (int64_t c = 0; c < d; ++c) grad[c] = factor * (grad[c] - along * x[c]);
}

// Key gradients from feature-major panels to rows, in place, and the rest of the similarity's
// derivative.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::finish_keys(const PairwiseGradients<T>& gradients,
                                       const Accumulators& acc, T overall) {
  if (!gradients.key) return;
  host::for_each_task(panels_, [&](int64_t panel, int64_t slot) {
    T* const turned = packed_panel(slot);
    T* const key = key_copy(slot);
    simd::dispatch([=, this, &gradients, &acc]() FASTLOSS_SIMD_LOOP {
      const int64_t d = in_.d;
      const int64_t first = panel * cols_;
      const int64_t width = panel_width(panel);
      std::copy_n(gradients.key + first * d, d * width, turned);
      detail::transpose(turned, width, d, width, gradients.key + first * d, d);
      for (int64_t j = first; j < first + width; ++j) {
        operands_.key.load(j, key);
        // The accumulated coefficients carry the key's inverse norm already.
        const T unit = operands_.key_statistic[j];
        const T magnitude = operands_.key.magnitude != nullptr ? operands_.key.magnitude[j] : T(1);
        finish_row_gradient(key, unit, similarity_factor(overall) * magnitude,
                            acc.distance ? acc.col_sum[j] : T(0), gradients.key + j * d);
      }
    });
  });
}

// Rows of so many panels for which so many bytes have room beside the threads' scratch.
template <class Loss, class S>
int64_t PairwiseCpu<Loss, S>::room_for_rows(int64_t panels, int64_t bytes) const {
  const int64_t row = panels * cols_ * int64_t{sizeof(T)};
  // Span states, turned queries and, one a block of rows, the columns' sums.
  const int64_t sums = (in_.key_bias != nullptr) + is_distance(in_.similarity);
  const int64_t beside =
      panels * int64_t{sizeof(State)} + in_.d * int64_t{sizeof(T)} + sums * row / 16;
  const int64_t scratch = scratch_.size() * int64_t{sizeof(T)};
  const int64_t left = std::max(bytes / 4, bytes - scratch);
  return left / (row + beside);
}

// Ranges of panels for chunks of so many rows, 0 if they are better cut by rows: few rows, and two
// ranges a thread, if their parts of the query gradient are small.
template <class Loss, class S>
int64_t PairwiseCpu<Loss, S>::ranges_of(int64_t rows, int64_t panels) const {
  const int64_t ranges = 2 * host::threads();
  const int64_t part = rows * in_.d * int64_t{sizeof(T)};
  return rows <= 2 * kTileRows && panels >= 4 * ranges && ranges * part <= in_.workspace / 16
             ? ranges
             : 0;
}

// Rows of a chunk in so many bytes.
template <class Loss, class S>
int64_t PairwiseCpu<Loss, S>::chunk_rows(int64_t panels, int64_t bytes) const {
  const int64_t row = panels * cols_ * int64_t{sizeof(T)};
  const int64_t most = std::max(2 * kTileRows, kChunkBytes / row);
  const int64_t rows = std::min(room_for_rows(panels, bytes), most);
  if (rows >= in_.n) return in_.n;
  if (rows >= 2 * kTileRows) return rows / kTileRows * kTileRows;
  return std::max<int64_t>(16, rows / 4 * 4);
}

template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::forward_gradient(Row* rows, const RowGrad& row_grad,
                                            const PairwiseGradients<T>& gradients) {
  if (in_.n == 0) return;
  // The key gradient accumulates where it is returned from; the memory of a second one, which the
  // bound on memory allows for, makes complete rows possible where they are long.
  const int64_t spared = gradients.key ? in_.m * in_.d * int64_t{sizeof(S)} : 0;
  const int64_t capacity = chunk_rows(panels_, in_.workspace + spared);
  if (capacity < std::min(in_.n, kMinChunkRows)) {
    forward(rows);
    backward(rows, row_grad, gradients);
    return;
  }
  Accumulators acc(*this, gradients, capacity, panels_, true);
  const RowDerivatives<Loss, RowGrad> derivatives{loss_, rows, row_grad};
  const bool weighed = loss_.weighs() && !acc.distance && !gradients.scale && !gradients.key_bias;
  for (int64_t first = 0; first < in_.n; first += capacity) {
    const Chunk chunk{first, std::min(capacity, in_.n - first), 0, panels_, first == 0, true};
    chunk_scores(chunk, acc, weighed ? kWeigh : kPush);
    host::for_each_task(blocks(chunk.rows), [&](int64_t block, int64_t slot) {
      const int64_t begin = block * block_;
      const int64_t end = std::min(chunk.rows, begin + block_);
      own_scores(first + begin, end - begin, slot);
      for (int64_t r = begin; r < end; ++r) {
        State state;
        for (int64_t p = 0; p < panels_; ++p) state.merge(acc.spans[p * capacity + r]);
        rows[first + r] = finish_row(first + r, state);
      }
    });
    chunk_gradients(chunk, derivatives, gradients, acc, weighed);
  }
  finish(derivatives, gradients, acc);
}

template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::backward(const Row* rows, const RowGrad& row_grad,
                                    const PairwiseGradients<T>& gradients) {
  if (in_.n == 0) return;
  if (in_.h > 0) {
    host::for_each_task(blocks(in_.n), [&](int64_t block, int64_t slot) {
      const int64_t begin = block * block_;
      own_scores(begin, std::min(in_.n, begin + block_) - begin, slot);
    });
  }
  all_chunks(RowDerivatives<Loss, RowGrad>{loss_, rows, row_grad}, gradients);
}

// The gradient pass over recomputed scores.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::all_chunks(const Derivatives& derivatives,
                                      const PairwiseGradients<T>& gradients) {
  if (in_.m == 0) {  // nothing depends on the queries
    if (gradients.query) std::fill_n(gradients.query, in_.n * in_.d, T(0));
    return;
  }
  const auto [capacity, panels] = rectangle();
  Accumulators acc(*this, gradients, capacity, panels, false);
  for_each_chunk(capacity, panels, [&](const Chunk& chunk) {
    chunk_scores(chunk, acc, kScoresOnly);
    chunk_gradients(chunk, derivatives, gradients, acc, false);
  });
  finish(derivatives, gradients, acc);
}

// Rectangles of up to 1024 rows: enough that reading and writing the key gradient of a panel costs
// little beside the product that adds to it; as many panels as fit.
template <class Loss, class S>
typename PairwiseCpu<Loss, S>::Rectangle PairwiseCpu<Loss, S>::rectangle() const {
  int64_t panels = panels_;
  while (panels > 1 &&
         chunk_rows(panels, in_.workspace) < std::min<int64_t>(in_.n, 8 * kTileRows)) {
    panels = (panels + 1) / 2;
  }
  return {chunk_rows(panels, in_.workspace), panels};
}

template <class Loss, class S>
template <class Work>
void PairwiseCpu<Loss, S>::for_each_chunk(int64_t capacity, int64_t panels,
                                          const Work& work) const {
  for (int64_t panel = 0; panel < panels_; panel += panels) {
    for (int64_t first = 0; first < in_.n; first += capacity) {
      work(Chunk{first, std::min(capacity, in_.n - first), panel, std::min(panels, panels_ - panel),
                 first == 0, panel == 0});
    }
  }
}

template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::finish(const Derivatives& derivatives,
                                  const PairwiseGradients<T>& gradients, Accumulators& acc) {
  const T overall = derivatives.overall();
  finish_queries(derivatives, gradients, acc, overall);
  finish_keys(gradients, acc, overall);
  for (int64_t j = 0; gradients.key_bias && j < in_.m; ++j) gradients.key_bias[j] *= overall;
  if (!gradients.scale) return;
  double moment = 0;
  for (int64_t i = 0; i < in_.n; ++i) moment += acc.row_moment[i];
  *gradients.scale = moment * static_cast<double>(overall / in_.scale);
}

}  // namespace fastloss
