// PairwiseCuda: chunks of w and the gradients they give (included by pairwise.cuh).

namespace fastloss::device {

// Shorter chunks of complete rows cost more by reading and writing the key gradient than scoring
// them again would: 8 · m · d bytes of memory against 2 · rows · m · d operations. Tensor cores do
// about four times as many of these a byte. Estimates, not verified on hardware.
template <class S>
constexpr int64_t kMinCompleteRows = sizeof(S) == 2 ? 256 : 64;
// Rows of a chunk whose columns may be cut.
constexpr int64_t kCutRows = 1024;

// What a gradient pass needs of memory beside the engine's.
template <class Loss, class S>
struct PairwiseCuda<Loss, S>::Work {
  Work(PairwiseCuda& engine, const PairwiseGradientsOnDevice<T>& gradients, const Shape& shape,
       bool with_state)
      : distance(is_distance(engine.in_.similarity)),
        with_sums(with_state || distance || gradients.scale != nullptr),
        with_columns(gradients.key_bias != nullptr || (distance && gradients.key != nullptr)),
        shape(shape),
        scores(engine.runtime_, shape.rows * padded(shape.cols)),
        partial(engine.runtime_, most_parts(shape)),
        sums(engine.runtime_, with_sums ? engine.in_.n : 0),
        column_partial(engine.runtime_, with_columns ? groups(shape.rows) * shape.cols : 0),
        column_sums(engine.runtime_, with_columns ? engine.in_.m : 0) {}

  // Bytes a column and group of rows.
  static int64_t beside(const PairwiseCuda& engine, const PairwiseGradientsOnDevice<T>& gradients) {
    const bool columns = gradients.key_bias != nullptr || is_distance(engine.in_.similarity);
    return columns ? static_cast<int64_t>(sizeof(ColumnParts)) : 0;
  }

  bool distance, with_sums, with_columns;
  Shape shape;
  Buffer<T> scores;
  Buffer<RowParts> partial;
  Buffer<RowParts> sums;  // (n)
  Buffer<ColumnParts> column_partial;
  Buffer<ColumnParts> column_sums;  // (m)
};

// What 16-bit coefficients are multiplied by. Factors near 1 need no look.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::find_unit() {
  if constexpr (kUnit<S> != 1.0) {
    if (!short_chunk()) return;
    const T* weight = nullptr;
    if constexpr (requires { loss_.loss.class_weight; }) weight = loss_.loss.class_weight;
    unit_ = {static_cast<T>(kUnit<S>)};
    if (in_.plain_factors && weight == nullptr) return;
    launch(find_unit_of<T>, Grid{}, kBlock, runtime_.queue(), in_.factor, in_.n, weight, in_.m,
           kUnit<S>, unit_place_.data());
    unit_ = {T(0), unit_place_.data()};
  }
}

// Turns a chunk of scores into w and multiplies it into the gradients.
template <class Loss, class S>
template <class Rule>
void PairwiseCuda<Loss, S>::turn(const Chunk<T>& chunk, const Rule& rule,
                                 const PairwiseGradientsOnDevice<T>& gradients, Work& work) {
  if (work.with_columns) {
    const Grid grid{cover(chunk.cols, kColumnThreads * kSpan), groups(chunk.rows)};
    launch(column_sums<Rule, S>, grid, kColumnThreads, runtime_.queue(), scores_, rule, chunk,
           work.column_partial.data());
    over_items(chunk.cols, merge_parts<ColumnParts>, work.column_partial.data(), grid.y, chunk.cols,
               chunk.row == 0, work.column_sums.data() + chunk.col);
  }
  const auto make = [&](auto threads, auto stored, int64_t count) {
    constexpr int kThreads = decltype(threads)::value;
    launch(coefficients<kThreads, decltype(stored), Rule, S>,
           Grid{cover(chunk.rows, kBlock / kThreads), count}, kBlock, runtime_.queue(), scores_,
           rule, chunk, part_cols(chunk, count), unit_, gradients.scale != nullptr,
           work.partial.data());
    if (!work.with_sums) return;
    over_items(chunk.rows, merge_parts<RowParts>, work.partial.data(), count, chunk.rows,
               chunk.col == 0, work.sums.data() + chunk.row);
  };
  detail::by_threads(chunk.cols, [&](auto threads) {
    if constexpr (!std::is_same_v<S, T>) {
      // In place only if one block has the whole row.
      if (short_chunk()) return make(threads, S{}, 1);
    }
    make(threads, T{}, parts(chunk));
  });
  multiply_gradients(chunk, gradients);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::multiply_gradients(const Chunk<T>& chunk,
                                               const PairwiseGradientsOnDevice<T>& gradients) {
  const int64_t d = in_.d;
  const Matrix w = short_chunk()
                       ? Matrix{chunk.scores, kStored<S>, chunk.rows, chunk.cols,
                                chunk.stride * static_cast<int64_t>(sizeof(T) / sizeof(S))}
                       : Matrix{chunk.scores, kStored<T>, chunk.rows, chunk.cols, chunk.stride};
  if (gradients.query) {
    runtime_.multiply(w, operands_.key().rows(chunk.col, chunk.cols),
                      gradients.query + chunk.row * d, d, chunk.col > 0);
  }
  if (gradients.key) {
    runtime_.multiply(w.flipped(), operands_.query().rows(chunk.row, chunk.rows),
                      gradients.key + chunk.col * d, d, chunk.row > 0);
  }
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::forward_gradient(Row* rows, const PairwiseResultOnDevice<T>& result) {
  const auto& gradients = result.gradients;
  const Shape shape = rectangle_of(in_.workspace, in_.m, Work::beside(*this, gradients));
  if (in_.n == 0 || in_.m == 0 || shape.rows < std::min(in_.n, kMinCompleteRows<S>)) {
    forward(rows, {});
    backward(rows, result);
    return;
  }
  find_unit();
  const RowRule<Loss> rule{loss_, rows, in_.factor};
  Work work(*this, gradients, shape, false);
  const Buffer<State> states(runtime_, in_.n);
  const Buffer<State> partial(runtime_, most_parts(shape));
  for_each_chunk(work.scores.data(), shape, [&](const Chunk<T>& chunk) {
    score(chunk);
    push_rows(chunk, partial.data(), states.data());
    finish(states.data(), chunk.row, chunk.rows, rows);
    turn(chunk, rule, gradients, work);
  });
  finish_gradients(rule, rows, nullptr, result, work);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::backward(const Row* rows, const PairwiseResultOnDevice<T>& result) {
  find_unit();
  const RowRule<Loss> rule{loss_, rows, in_.factor};
  Work work(*this, result.gradients, cut_shape(result.gradients), false);
  all_chunks(rule, result.gradients, work);
  finish_gradients(rule, rows, nullptr, result, work);
}

template <class Loss, class S>
typename PairwiseCuda<Loss, S>::Shape PairwiseCuda<Loss, S>::cut_shape(
    const PairwiseGradientsOnDevice<T>& gradients) const {
  return rectangle(chunk_bytes(), kCutRows, Work::beside(*this, gradients));
}

// The gradient pass over scores formed anew.
template <class Loss, class S>
template <class Rule>
void PairwiseCuda<Loss, S>::all_chunks(const Rule& rule,
                                       const PairwiseGradientsOnDevice<T>& gradients, Work& work) {
  for_each_chunk(work.scores.data(), work.shape, [&](const Chunk<T>& chunk) {
    if (turn_by_tiles(chunk, rule, gradients, work)) return;
    score(chunk);
    turn(chunk, rule, gradients, work);
  });
}

// No pair, no gradient; and no product that would have written it.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::clear(const PairwiseGradientsOnDevice<T>& gradients,
                                  const Work& work) const {
  const auto zeros = [&](T* values, int64_t count) {
    if (values) over_items(count, fill<T>, values, count, T(0));
  };
  zeros(gradients.query, in_.n * in_.d);
  zeros(gradients.key, in_.m * in_.d);
  over_items(work.sums.size(), fill<RowParts>, work.sums.data(), work.sums.size(), RowParts{});
  over_items(work.column_sums.size(), fill<ColumnParts>, work.column_sums.data(),
             work.column_sums.size(), ColumnParts{});
}

// What remains when all products are in: own negatives, sums over the rows, the similarity's
// factor and its second term.
template <class Loss, class S>
template <class Rule>
void PairwiseCuda<Loss, S>::finish_gradients(const Rule& rule, const Row* rows, const Row* cols,
                                             const PairwiseResultOnDevice<T>& result, Work& work) {
  const auto& gradients = result.gradients;
  const Similarity kind = in_.similarity;
  if (in_.n == 0 || in_.m == 0) clear(gradients, work);
  RowParts* const sums = work.with_sums ? work.sums.data() : nullptr;
  if constexpr (OwnsNegatives<Loss>) {
    if (in_.h > 0) {
      over_warps(in_.n, own_coefficients<Loss, S>, scores_, rule, in_.h, own_.data(),
                 own_norm_.data(), sums, gradients.own);
    }
  }
  const Buffer<T> overall(runtime_, 1);
  totals(rows, cols, sums, result, overall.data());
  if constexpr (OwnsNegatives<Loss>) {
    if (in_.h > 0 && (gradients.query || gradients.own)) {
      over_warps(in_.n, add_own<S, T>, scores_, in_.negatives, in_.h, own_.data(), overall.data(),
                 unit_, gradients.query, gradients.own);
    }
  }
  const auto finish_side = [&](const Side<S, T>& side, const auto& of, T* gradient) {
    if (gradient == nullptr) return;
    const Buffer<T> weights(runtime_, work.distance ? side.count : 0);
    if (work.distance) {
      over_items(side.count, weights_of_sums<std::decay_t<decltype(*of.data())>, T>, of.data(),
                 side.count, weights.data());
    }
    finish_gradient(runtime_, kind, in_.scale, overall.data(), unit_, side, weights.data(),
                    gradient);
  };
  finish_side(operands_.query(), work.sums, gradients.query);
  finish_side(operands_.key(), work.column_sums, gradients.key);
  if (gradients.key_bias) {
    over_items(in_.m, bias_of_sums<T>, work.column_sums.data(), in_.m, overall.data(),
               gradients.key_bias);
  }
}

}  // namespace fastloss::device
