// SelfCpu: chunks of rows and the gradients they give (included by self_cpu.h).

namespace fastloss {

// The memory of a gradient pass. A chunk is `chunk_rows` rows of up to `group` panels; the tiles of
// the rows before `kept` are kept from the first pass instead, where they fit.
template <class Loss, class S>
struct SelfCpu<Loss, S>::Accumulators {
  static constexpr int64_t kChunkBytes = int64_t{16} << 20;  // beyond, chunks leave the cache
  // Fewer rows read and write the gradients of the others too often.
  static constexpr int64_t kMinChunkRows = 64;

  Accumulators(const SelfCpu& engine, const SelfGradients<T>& gradients)
      : engine(engine),
        turns(gradients.rows || gradients.others),
        collects(gradients.rows),
        distance(is_distance(engine.in_.similarity)),
        complete(complete_rows() > 0),
        chunk_rows(complete ? complete_rows() : square_rows()),
        step(step_of(chunk_rows)),
        group(std::clamp<int64_t>(room(chunk_rows) / (chunk_rows * engine.cols_), least_group(),
                                  std::max<int64_t>(1, engine.panels_))),
        kept(engine.in_.itself ? rows_that_fit(room(chunk_rows)) : 0),
        base(engine.panels_),
        scores(std::max(lay_out(0, kept, 0, engine.panels_),
                        kept < engine.in_.n ? chunk_rows * group : 0) *
               engine.cols_),
        turned(turns ? engine.in_.d * chunk_rows : 0),
        part(collects ? engine.in_.d * chunk_rows : 0),
        row_moment(gradients.scale ? engine.in_.n : 0, 0.0),
        sum(distance ? engine.in_.n + engine.in_.k : 0, T(0)),
        block_sum(distance ? steps_of(chunk_rows) * wide() : 0) {}

  int64_t wide() const { return engine.panels_ * engine.cols_; }
  // Own panels of a chunk are in its first group.
  int64_t least_group() const {
    return engine.in_.itself
               ? std::min((chunk_rows + engine.cols_ - 1) / engine.cols_, engine.panels_)
               : 1;
  }

  // Values that tiles may take beside all else within the workspace.
  int64_t room(int64_t rows) const {
    const int64_t beside =
        rows * engine.in_.d * (turns + collects) + (distance ? steps_of(rows) * wide() : 0);
    const int64_t left =
        engine.in_.workspace - engine.tiles_.bytes() - (beside * int64_t{sizeof(T)});
    return std::max(engine.in_.workspace / 8, left - engine.state_bytes()) / int64_t{sizeof(T)};
  }

  int64_t wanted_rows() const {
    return kChunkBytes / int64_t{sizeof(T)} / std::max<int64_t>(1, wide());
  }
  // Rows whose scores with all others fit; 0 where that would be too few, or is not enough.
  int64_t complete_rows() const {
    if (engine.in_.itself) return 0;
    int64_t rows = std::min(engine.in_.n, std::max(2 * kTileRows, wanted_rows()));
    while (rows > 0 && room(rows) < rows * wide()) rows /= 2;
    return rows < std::min(engine.in_.n, kMinChunkRows) ? 0 : rows;
  }
  int64_t square_rows() const {
    const int64_t cols = engine.cols_;
    const int64_t padded = (engine.in_.n + cols - 1) / cols * cols;
    const int64_t wanted = wanted_rows();
    int64_t rows = std::min(padded, std::clamp(wanted / cols * cols, 2 * cols, 4 * cols));
    // Square chunks at least: fewer panels read and write their gradients too often.
    while (rows > cols && room(rows) < rows * std::min(2 * rows, wide())) rows -= cols;
    return rows;
  }

  // Rows that one task turns into coefficients.
  int64_t step_of(int64_t rows) const {
    int64_t step = engine.block_;
    while (step > 16 && rows / step < 2 * host::threads()) step /= 2;
    return step;
  }

  int64_t steps_of(int64_t rows) const { return (rows + step_of(rows) - 1) / step_of(rows); }

  int64_t rows_that_fit(int64_t values) const {
    const int64_t n = engine.in_.n, cols = engine.cols_;
    int64_t rows = 0, total = 0;
    while (rows < n) {
      // A panel of rows meets all but the panels before it.
      total += cols * cols * (engine.panels_ - rows / cols);
      if (total > values) break;
      rows += cols;
    }
    return std::min(rows, n);
  }

  // Gives tiles of rows [row, end) and panels [panel, last) their place; returns the rows they
  // take.
  int64_t lay_out(int64_t row, int64_t end, int64_t panel, int64_t last) {
    origin = row;
    int64_t total = 0;
    for (int64_t p = panel; p < last; ++p) {
      base[p] = total;
      total += std::max<int64_t>(0, engine.height(row, end, p));
    }
    return total;
  }
  T* tile(int64_t p, int64_t row) const {
    return scores.data() + (base[p] + row - origin) * engine.cols_;
  }

  const SelfCpu& engine;
  bool turns, collects, distance;
  bool complete;  // chunks hold all scores of their rows
  int64_t chunk_rows, step, group, kept;
  int64_t origin = 0;
  host::Buffer<int64_t> base;
  host::Buffer<T> scores;           // scores, then coefficients w
  host::Buffer<T> turned;           // (d, chunk_rows): the chunk's rows, feature-major
  host::Buffer<T> part;             // (chunk_rows, d): what the chunk's rows collect
  host::Buffer<double> row_moment;  // (n): Σ ∂L/∂s · s
  host::Buffer<T> sum;              // (n + k): Σ w of a candidate
  host::Buffer<T> block_sum;        // per block of the chunk's rows, per column: Σ w
};

// ∂L/∂s of a pair, from one row or from both.
template <class Loss, class RowGrad>
class SelfDerivatives {
 public:
  using T = typename Loss::Value;
  using Row = typename Loss::Row;

  using State = typename Loss::State;

  // `states` (n), of a loss of pairs: the spans are pushed into them as well.
  SelfDerivatives(const Loss& loss, const Row* rows, int64_t n, const RowGrad& row_grad,
                  State* states = nullptr)
      : loss_(loss),
        rows_(rows),
        n_(n),
        row_grad_(row_grad),
        fields_(rows, n, row_grad),
        states_(states) {}

  FASTLOSS_HOST_DEVICE void of_span(const T* __restrict s, int64_t row, int64_t column,
                                    int64_t count, bool own, T* __restrict out) const {
    if constexpr (kIsOfPairs<Loss>) {
      if (states_) states_[row].merge(loss_.push(s, row, column, count));
    }
    loss_.dscores(s, row, column, count, rows_[row], row_grad_(row), out);
    if (own) {
      loss_.add_columns(s, row, column, count, fields_.at(column), n_, fields_.factor(column), out);
    }
  }
  FASTLOSS_HOST_DEVICE T of_target(int64_t row, int64_t partner) const {
    return row_grad_(row) * rows_[row].dtarget + row_grad_(partner) * rows_[partner].dtarget;
  }
  T overall() const { return row_grad_.overall(rows_); }

 private:
  const Loss& loss_;
  const Row* rows_;
  int64_t n_;
  const RowGrad& row_grad_;
  RowFields<Row, T> fields_;
  State* states_;
};

// Similarities of a chunk that was not kept.
template <class Loss, class S>
void SelfCpu<Loss, S>::chunk_scores(const Chunk& chunk, Accumulators& acc) {
  const int64_t end = chunk.row + chunk.rows, panels = chunk.last - chunk.panel;
  acc.lay_out(chunk.row, end, chunk.panel, chunk.last);
  // One task packs a panel once; panels are shared by tasks where they are few.
  const int64_t blocks = (chunk.rows + block_ - 1) / block_;
  const int64_t runs = std::min(blocks, (2 * host::threads() + panels - 1) / panels);
  host::for_each_task(panels * runs, [&](int64_t task, int64_t slot) {
    const int64_t p = chunk.panel + task / runs, run = task % runs;
    const Panel panel = this->panel(p);
    const int64_t stop =
        chunk.row + std::min(height(chunk.row, end, p), (run + 1) * blocks / runs * block_);
    int64_t row = chunk.row + run * blocks / runs * block_;
    if (row >= stop) return;
    tiles_.pack(panel.side, panel.first, panel.width, slot);
    for (; row < stop; row += block_) {
      score_tile(panel, tile_of(row, std::min(block_, stop - row), panel), slot, acc.tile(p, row),
                 [](int64_t, T*) FASTLOSS_SIMD_LOOP {});
    }
    host::multiply_done();
  });
}

// From scores to coefficients, in place, with their sums.
template <class Loss, class S>
template <class Derivatives>
FASTLOSS_HOST_DEVICE void SelfCpu<Loss, S>::coefficients(int64_t row, const Panel& panel,
                                                         const Tile& t,
                                                         const Derivatives& derivatives,
                                                         T* __restrict span, double* moment,
                                                         T* row_sum, T* col_sum) const {
  const Similarity kind = in_.similarity;
  const T unit = row_statistic()[row];
  const T* __restrict cols = panel.statistic;
  T dscore[kTileCols];
  derivatives.of_span(span + t.from, row, panel.column + t.from, t.width - t.from, panel.own,
                      dscore + t.from);
  if constexpr (Loss::kPaired) {
    // Masked in its span: the derivative with respect to the pair's score takes its place.
    const int64_t target = partner(row) - panel.first;
    if (panel.own && target >= t.from && target < t.width) {
      dscore[target] = derivatives.of_target(row, partner(row));
      span[target] = target_similarity_[row];
    }
  }
  if (moment) {
    // The block itself holds both orders of its pairs.
    T once = 0, twice = 0;
#pragma omp simd reduction(+ : twice)
    for (int64_t j = t.from; j < t.both(); ++j) {
      twice += span[j] == -math::kInfinity<T> ? T(0) : dscore[j] * span[j];
    }
#pragma omp simd reduction(+ : once)
    for (int64_t j = t.both(); j < t.width; ++j) {
      once += span[j] == -math::kInfinity<T> ? T(0) : dscore[j] * span[j];
    }
    *moment += static_cast<double>(once) + static_cast<double>(twice) / 2;
  }
  if (!is_distance(kind)) {
#pragma omp simd
    for (int64_t j = t.from; j < t.width; ++j) span[j] = dscore[j] * (unit * cols[j]);
    return;
  }
  *row_sum += coefficients_of_distances(kind, in_.scale, T(1), dscore + t.from, span + t.from,
                                        t.width - t.from);
#pragma omp simd
  for (int64_t j = t.both(); j < t.width; ++j) col_sum[j] += span[j];
}

// A block of a chunk: its rows turned, its tiles made coefficients, and what its rows collect.
template <class Loss, class S>
template <class Derivatives>
void SelfCpu<Loss, S>::block_coefficients(const Chunk& chunk, int64_t row, int64_t count,
                                          int64_t slot, const Derivatives& derivatives,
                                          const SelfGradients<T>& gradients,
                                          Accumulators& acc) const {
  const int64_t d = in_.d, place = row - chunk.row, first = first_panel(row);
  T* const part = acc.part.data() + place * d;
  T* const block_sum = acc.block_sum.data() + place / acc.step * acc.wide();
  if (acc.distance) {
    std::fill(block_sum + chunk.panel * cols_, block_sum + chunk.last * cols_, T(0));
  }
  if (acc.turns) {
    rows().transposed(row, count, nullptr, tiles_.strip(slot), acc.turned.data() + place,
                      acc.chunk_rows);
  }
  for (int64_t p = std::max(chunk.panel, first); p < chunk.last; ++p) {
    const Panel panel = this->panel(p);
    const Tile t = tile_of(row, count, panel);
    T* const tile = acc.tile(p, row);
    T* const col_sum = acc.distance ? block_sum + p * cols_ : nullptr;
    simd::dispatch([=, this, &panel, &derivatives, &acc]() FASTLOSS_SIMD_LOOP {
      for (int64_t r = 0; r < count; ++r) {
        coefficients(row + r, panel, t, derivatives, tile + r * cols_,
                     acc.row_moment.size() ? acc.row_moment.data() + row + r : nullptr,
                     acc.distance ? acc.sum.data() + row + r : nullptr, col_sum);
      }
    });
    if (gradients.rows) {
      const int64_t width = t.width - t.from;
      host::multiply(count, d, width, tile + t.from, cols_,
                     panel.side.block(panel.first + t.from, width, tiles_.panel_copy(slot)), d,
                     part, d, p > first);
    }
  }
}

// Adds Σ_i w_ij · row_i over the chunk's rows to features [from, to) of panel p, feature-major.
template <class Loss, class S>
void SelfCpu<Loss, S>::panel_products(const Chunk& chunk, int64_t p, int64_t from, int64_t to,
                                      T* out, const Accumulators& acc) const {
  const Panel panel = this->panel(p);
  const int64_t end = chunk.row + chunk.rows;
  const auto add = [&](int64_t row, int64_t count, int64_t first) {
    if (count <= 0 || first >= panel.width) return;
    host::multiply(to - from, panel.width - first, count,
                   acc.turned.data() + from * acc.chunk_rows + row - chunk.row, acc.chunk_rows,
                   acc.tile(p, row) + first, cols_, out + from * panel.width + first, panel.width,
                   true);
  };
  // Rows above the panel's own are met by all of its columns.
  const int64_t above = panel.own ? std::min(end, panel.first) : end;
  add(chunk.row, above - chunk.row, 0);
  for (int64_t row = above; row < chunk.row + height(chunk.row, end, p); row += acc.step) {
    const int64_t count = std::min(acc.step, end - row);
    add(row, count, tile_of(row, count, panel).both());
  }
}

// Turns the chunk's tiles into coefficients and multiplies them into the gradients: blocks own
// what their rows collect, then panels own their columns.
template <class Loss, class S>
template <class Derivatives>
void SelfCpu<Loss, S>::chunk_gradients(const Chunk& chunk, const Derivatives& derivatives,
                                       const SelfGradients<T>& gradients, Accumulators& acc) {
  const int64_t d = in_.d, end = chunk.row + chunk.rows;
  const int64_t steps = (chunk.rows + acc.step - 1) / acc.step;
  host::for_each_task(steps, [&](int64_t block, int64_t slot) {
    const int64_t row = chunk.row + block * acc.step;
    block_coefficients(chunk, row, std::min(acc.step, end - row), slot, derivatives, gradients,
                       acc);
    host::multiply_done();
  });
  const int64_t panels = chunk.last - chunk.panel;
  // Where panels are few, a task owns some of their features.
  const int64_t slices = std::min((d + 15) / 16, (2 * host::threads() + panels - 1) / panels);
  host::for_each_task(panels * slices, [&](int64_t task, int64_t) {
    const int64_t p = chunk.panel + task / slices, slice = task % slices;
    const Panel panel = this->panel(p);
    T* const gradient = panel.own ? gradients.rows : gradients.others;
    if (gradient) {
      panel_products(chunk, p, slice * d / slices, (slice + 1) * d / slices,
                     gradient + panel.first * d, acc);
      host::multiply_done();
    }
    if (slice != 0 || !acc.distance) return;
    for (int64_t block = 0; block < steps; ++block) {
      const T* const sums = acc.block_sum.data() + block * acc.wide() + p * cols_;
      for (int64_t j = 0; j < panel.width; ++j) acc.sum[panel.column + j] += sums[j];
    }
  });
}

// A panel's gradients from feature-major to rows, in place.
template <class Loss, class S>
void SelfCpu<Loss, S>::turn(const Panel& panel, int64_t slot, T* gradient) const {
  T* const turned = tiles_.packed(slot);
  simd::dispatch([=, this, &panel]() FASTLOSS_SIMD_LOOP {
    std::copy_n(gradient, in_.d * panel.width, turned);
    detail::transpose(turned, panel.width, in_.d, panel.width, gradient, in_.d);
  });
}

// Adds what the rows of a chunk have collected to what they got as columns: complete now.
template <class Loss, class S>
void SelfCpu<Loss, S>::add_rows(const Chunk& chunk, const SelfGradients<T>& gradients,
                                const Accumulators& acc) {
  if (!gradients.rows) return;
  const int64_t d = in_.d;
  host::for_each_task((chunk.rows + cols_ - 1) / cols_, [&](int64_t task, int64_t slot) {
    const int64_t first = chunk.row + task * cols_;
    T* const gradient = gradients.rows + first * d;
    const T* const part = acc.part.data() + task * cols_ * d;
    if (in_.itself) turn(panel(first / cols_), slot, gradient);
    const int64_t count = std::min(cols_, chunk.row + chunk.rows - first) * d;
    for (int64_t i = 0; i < count; ++i) gradient[i] += part[i];
  });
}

template <class Loss, class S>
template <class Derivatives>
void SelfCpu<Loss, S>::all_chunks(const Derivatives& derivatives, const SelfGradients<T>& gradients,
                                  Accumulators& acc, int64_t kept) {
  Chunk chunk{};
  for (int64_t row = 0; row < in_.n; row += chunk.rows) {
    const bool is_kept = row < kept;
    const int64_t end = std::min(is_kept ? kept : in_.n, row + acc.chunk_rows);
    chunk = {row, end - row, first_panel(row), panels_};
    for (int64_t p = chunk.panel; p < panels_; p = chunk.last) {
      chunk.panel = p;
      chunk.last = is_kept ? panels_ : std::min(panels_, p + acc.group);
      if (!is_kept) chunk_scores(chunk, acc);
      chunk_gradients(chunk, derivatives, gradients, acc);
    }
    add_rows(chunk, gradients, acc);
  }
}

// From Σ w · (candidates) to the gradient of one row, in place.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void SelfCpu<Loss, S>::finish_row(const Operand<S, T>& side,
                                                       const T* statistic, int64_t row, T sum,
                                                       T overall, T* __restrict x,
                                                       T* __restrict gradient) const {
  const int64_t d = in_.d;
  side.load(row, x);
  if (is_distance(in_.similarity)) {
#pragma omp simd
    for (int64_t c = 0; c < d; ++c) gradient[c] = overall * (gradient[c] - sum * x[c]);
    return;
  }
  const T unit = statistic[row];
  const T magnitude = side.magnitude != nullptr ? side.magnitude[row] : T(1);
  const T along =
      in_.similarity == Similarity::kCosine ? detail::dot(gradient, x, d) * unit * unit : T(0);
  const T factor = overall * in_.scale * magnitude;
#pragma omp simd
  for (int64_t c = 0; c < d; ++c) gradient[c] = factor * (gradient[c] - along * x[c]);
}

template <class Loss, class S>
void SelfCpu<Loss, S>::finish(const SelfGradients<T>& gradients, const Accumulators& acc,
                              T overall) {
  const auto finish_side = [&](T* gradient, const Operand<S, T>& side, const T* statistic,
                               const T* sum, int64_t count) {
    if (!gradient) return;
    host::for_each_task((count + cols_ - 1) / cols_, [&](int64_t task, int64_t slot) {
      simd::dispatch([=, this, &side]() FASTLOSS_SIMD_LOOP {
        T* const x = tiles_.strip(slot);
        for (int64_t i = task * cols_; i < std::min(count, (task + 1) * cols_); ++i) {
          finish_row(side, statistic, i, is_distance(in_.similarity) ? sum[i] : T(0), overall, x,
                     gradient + i * in_.d);
        }
      });
    });
  };
  if (gradients.others) {
    host::for_each_task(panels_ - own_panels_, [&](int64_t task, int64_t slot) {
      const Panel panel = this->panel(own_panels_ + task);
      turn(panel, slot, gradients.others + panel.first * in_.d);
    });
  }
  finish_side(gradients.rows, rows(), row_statistic(), acc.sum.data(), in_.n);
  finish_side(gradients.others, operands_.query, operands_.query_statistic.data(),
              acc.sum.data() + in_.n, in_.k);
  if (!gradients.scale) return;
  double moment = 0;
  for (int64_t i = 0; i < in_.n; ++i) moment += acc.row_moment[i];
  *gradients.scale = moment * static_cast<double>(overall / in_.scale);
}

template <class Loss, class S>
void SelfCpu<Loss, S>::clear(const SelfGradients<T>& gradients) const {
  const int64_t d = in_.d;
  if (gradients.scale) *gradients.scale = 0;
  for (const auto& [gradient, count] :
       {std::pair{gradients.rows, in_.n}, std::pair{gradients.others, in_.k}}) {
    if (!gradient) continue;
    host::for_each_task(
        (count + cols_ - 1) / cols_, [&, out = gradient, rows = count](int64_t task, int64_t) {
          std::fill(out + task * cols_ * d, out + std::min(rows, (task + 1) * cols_) * d, T(0));
        });
  }
}

template <class Loss, class S>
template <class RowGrad>
void SelfCpu<Loss, S>::forward_gradient(Row* rows, const RowGrad& row_grad,
                                        const SelfGradients<T>& gradients) {
  clear(gradients);
  if (in_.n == 0) return;
  if (panels_ == 0) return forward(rows);
  Accumulators acc(*this, gradients);
  if constexpr (kIsOfPairs<Loss>) {
    const host::Buffer<State> states(in_.n, State{});
    std::fill_n(rows, in_.n, loss_.finish(State{}, T(0)));
    const SelfDerivatives<Loss, RowGrad> derivatives(loss_, rows, own_rows(), row_grad,
                                                     states.data());
    all_chunks(derivatives, gradients, acc, 0);
    for (int64_t i = 0; i < in_.n; ++i) rows[i] = loss_.finish(states[i], T(0));
    finish(gradients, acc, derivatives.overall());
    return;
  }
  if (!acc.complete) {
    states(0, in_.n, acc.kept, &acc, rows);
    const SelfDerivatives<Loss, RowGrad> derivatives(loss_, rows, own_rows(), row_grad);
    all_chunks(derivatives, gradients, acc, acc.kept);
    finish(gradients, acc, derivatives.overall());
    return;
  }
  const SelfDerivatives<Loss, RowGrad> derivatives(loss_, rows, own_rows(), row_grad);
  for (int64_t row = 0; row < in_.n; row += acc.chunk_rows) {
    const Chunk chunk{row, std::min(acc.chunk_rows, in_.n - row), 0, panels_};
    const int64_t end = row + chunk.rows;
    acc.lay_out(row, end, 0, panels_);
    states(row, end, end, &acc, rows);
    chunk_gradients(chunk, derivatives, gradients, acc);
    add_rows(chunk, gradients, acc);
  }
  finish(gradients, acc, derivatives.overall());
}

template <class Loss, class S>
template <class RowGrad>
void SelfCpu<Loss, S>::backward(const Row* rows, const RowGrad& row_grad,
                                const SelfGradients<T>& gradients) {
  clear(gradients);
  if (in_.n == 0 || panels_ == 0) return;
  Accumulators acc(*this, gradients);
  const SelfDerivatives<Loss, RowGrad> derivatives(loss_, rows, own_rows(), row_grad);
  all_chunks(derivatives, gradients, acc, 0);
  finish(gradients, acc, derivatives.overall());
}

}  // namespace fastloss
