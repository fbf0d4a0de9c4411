// PairwiseCuda: chunks, states of rows, forward (included by pairwise.cuh).

namespace fastloss::device {

// A chunk that is read once, by the next kernel, is best found in the cache.
constexpr int64_t kCacheBytes = int64_t{32} << 20;
// Columns of rows that a warp takes; longer ones are a block's.
constexpr int64_t kWarpCols = 1024;
// Blocks that keep a device busy: fewer rows are cut into parts.
constexpr int64_t kBusyBlocks = 512;
// A grid has 65 535 groups of rows.
constexpr int64_t kMostRows = 65535 * kGroupRows;

namespace detail {

// work(std::integral_constant<int, threads of a row>).
template <class Work>
void by_threads(int64_t cols, const Work& work) {
  if (cols <= kWarpCols) return work(std::integral_constant<int, kWarp>{});
  work(std::integral_constant<int, kBlock>{});
}

}  // namespace detail

template <class Loss, class S>
PairwiseCuda<Loss, S>::PairwiseCuda(Runtime& runtime, const PairwiseOnDevice<S, T>& input,
                                    const DeviceLoss<Loss>& loss)
    : runtime_(runtime),
      in_(input),
      loss_(loss),
      operands_(runtime, input.similarity, input.query, input.n, input.key, input.m, input.d),
      target_similarity_(runtime, input.n),
      own_state_(runtime, input.h > 0 ? input.n : 0),
      own_(runtime, input.n * input.h),
      own_norm_(runtime, input.n * input.h),
      unit_place_(runtime, 1),
      unit_{T(1)},
      scores_{operands_.query(), operands_.key(), input.similarity,
              input.scale,       input.margin,    input.key_bias,
              input.target,      input.key_ids,   target_similarity_.data()} {
  if constexpr (TargetFirst<Loss>) {
    over_warps(in_.n, target_similarities<S, T>, scores_);
  }
  own_scores();
}

// Chunks column by column of chunks, so that a block of the key gradient stays in the cache.
template <class Loss, class S>
template <class Visit>
void PairwiseCuda<Loss, S>::for_each_chunk(T* scores, const Shape& shape,
                                           const Visit& visit) const {
  for (int64_t col = 0; col < in_.m; col += shape.cols) {
    for (int64_t row = 0; row < in_.n; row += shape.rows) visit(chunk(scores, shape, row, col));
  }
}

// Chunks of so many columns in so many bytes; `beside` bytes a column and group of rows are needed
// for its sums.
template <class Loss, class S>
typename PairwiseCuda<Loss, S>::Shape PairwiseCuda<Loss, S>::rectangle_of(int64_t bytes,
                                                                          int64_t cols,
                                                                          int64_t beside) const {
  const int64_t wide = std::max<int64_t>(padded(cols), 8);
  // One group too many: the last one may be short.
  const int64_t left = std::max(bytes / 4, bytes - wide * beside);
  const int64_t rows =
      left / (wide * static_cast<int64_t>(sizeof(T)) + cover(wide * beside, kGroupRows));
  if (rows >= in_.n && in_.n <= kMostRows) return {in_.n, cols};
  return {std::clamp<int64_t>(rows / 8 * 8, 8, kMostRows), cols};
}

// The same with so many rows, if columns must be cut for it.
template <class Loss, class S>
typename PairwiseCuda<Loss, S>::Shape PairwiseCuda<Loss, S>::rectangle(int64_t bytes, int64_t rows,
                                                                       int64_t beside) const {
  Shape shape = rectangle_of(bytes, in_.m, beside);
  while (shape.cols > kWarpCols && shape.rows < std::min(in_.n, rows)) {
    shape = rectangle_of(bytes, padded(cover(shape.cols, 2)), beside);
  }
  return shape;
}

// Parts of a chunk's rows.
template <class Loss, class S>
int64_t PairwiseCuda<Loss, S>::parts(const Chunk<T>& chunk) {
  if (chunk.cols <= kWarpCols) return 1;
  const int64_t wanted = std::clamp<int64_t>(kBusyBlocks / chunk.rows, 1, cover(chunk.cols, 4096));
  return cover(chunk.cols, part_cols(chunk, wanted));
}

// Parts of all rows of a chunk.
template <class Loss, class S>
int64_t PairwiseCuda<Loss, S>::most_parts(const Shape& shape) {
  return std::max(shape.rows, kBusyBlocks);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::score(const Chunk<T>& chunk) {
  runtime_.multiply(operands_.query().rows(chunk.row, chunk.rows),
                    operands_.key().rows(chunk.col, chunk.cols).flipped(), chunk.scores,
                    chunk.stride, false);
}

// What the chunk adds to the states of its rows.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::push_rows(const Chunk<T>& chunk, State* partial, State* states) {
  const int64_t count = parts(chunk);
  detail::by_threads(chunk.cols, [&](auto threads) {
    constexpr int kThreads = decltype(threads)::value;
    launch(row_states<kThreads, Loss, S>, Grid{cover(chunk.rows, kBlock / kThreads), count}, kBlock,
           runtime_.queue(), scores_, loss_, chunk, part_cols(chunk, count), partial);
  });
  over_items(chunk.rows, merge_parts<State>, partial, count, chunk.rows, chunk.col == 0,
             states + chunk.row);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::finish(const State* states, int64_t first, int64_t count,
                                   Row* rows) const {
  over_items(count, finish_rows<Loss, S>, scores_, loss_, states,
             in_.h > 0 ? own_state_.data() : nullptr, first, count, rows);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::own_scores() {
  if constexpr (OwnsNegatives<Loss>) {
    if (in_.h == 0) return;
    over_warps(in_.n * in_.h, own_similarities<S, T>, scores_, in_.negatives, in_.h, own_.data(),
               own_norm_.data());
    over_warps(in_.n, own_states<Loss>, loss_, own_.data(), in_.n, in_.h, own_state_.data());
  } else if (in_.h > 0) {
    throw std::invalid_argument("rows of this loss cannot own negatives");
  }
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::all_states(State* states) {
  if (push_by_tiles(states, nullptr)) return;
  const Shape shape = rectangle(std::min(in_.workspace, kCacheBytes), 2 * kGroupRows, 0);
  const Buffer<T> scores(runtime_, shape.rows * padded(shape.cols));
  const Buffer<State> partial(runtime_, most_parts(shape));
  if (in_.m == 0) over_items(in_.n, fill<State>, states, in_.n, State{});
  for_each_chunk(scores.data(), shape, [&](const Chunk<T>& chunk) {
    score(chunk);
    push_rows(chunk, partial.data(), states);
  });
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::forward(Row* rows, const PairwiseResultOnDevice<T>& result) {
  {
    const Buffer<State> states(runtime_, in_.n);
    all_states(states.data());
    finish(states.data(), 0, in_.n, rows);
  }
  const Buffer<T> overall(runtime_, 1);
  totals(rows, nullptr, nullptr, result, overall.data());
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::losses(const Row* rows, const Row* cols, T* out) {
  over_items(in_.n, losses_of_rows<Row, T>, rows, cols, in_.factor, in_.n, out);
}

// Sums over the rows, and the numbers that follow from them.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::totals(const Row* rows, const Row* cols, const RowParts* sums,
                                   const PairwiseResultOnDevice<T>& result, T* overall) {
  const int64_t share = std::max<int64_t>(cover(in_.n, 64), 4 * kBlock);
  const int64_t count = std::max<int64_t>(1, cover(in_.n, share));
  const Buffer<Totals> partial(runtime_, count);
  launch(sum_rows<Row, State, T>, Grid{count}, kBlock, runtime_.queue(), rows, cols, sums,
         in_.factor, in_.counted, in_.target, in_.n, share, partial.data());
  launch(finish_totals<T>, Grid{}, kWarp, runtime_.queue(), partial.data(), count, in_.scale,
         in_.scale_divides, result.mean, overall, result.loss, result.gradients.scale,
         result.gradients.shift);
}

}  // namespace fastloss::device
