// PairwiseCuda: losses of rows and of columns (included by pairwise.cuh).

namespace fastloss::device {

// One pass over all scores for the states of rows and columns. `scores` holds a chunk of `shape`,
// which is all of them if they are `kept`.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::symmetric_states(Row* rows, Row* cols, bool kept, T* scores,
                                             const Shape& shape) {
  const Buffer<State> of_rows(runtime_, in_.n), of_cols(runtime_, in_.n);
  if (!kept && push_by_tiles(of_rows.data(), of_cols.data())) {
    finish(of_rows.data(), 0, in_.n, rows);
    finish(of_cols.data(), 0, in_.n, cols);
    return;
  }
  const Buffer<State> row_partial(runtime_, most_parts(shape));
  const Buffer<State> column_partial(runtime_, groups(shape.rows) * shape.cols);
  for_each_chunk(scores, shape, [&](const Chunk<T>& chunk) {
    score(chunk);
    push_rows(chunk, row_partial.data(), of_rows.data());
    const Grid grid{cover(chunk.cols, kColumnThreads * kSpan), groups(chunk.rows)};
    launch(column_states<Loss, S>, grid, kColumnThreads, runtime_.queue(), scores_, loss_, chunk,
           column_partial.data());
    over_items(chunk.cols, merge_parts<State>, column_partial.data(), grid.y, chunk.cols,
               chunk.row == 0, of_cols.data() + chunk.col);
  });
  finish(of_rows.data(), 0, in_.n, rows);
  finish(of_cols.data(), 0, in_.n, cols);  // the same target: the diagonal
}

template <class Loss, class S>
typename PairwiseCuda<Loss, S>::Shape PairwiseCuda<Loss, S>::symmetric_shape() const {
  return rectangle(chunk_bytes(), kCutRows, std::max<int64_t>(sizeof(State), sizeof(ColumnParts)));
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::symmetric_forward(Row* rows, Row* cols,
                                              const PairwiseResultOnDevice<T>& result) {
  {
    const Shape shape = in_.tiles ? Shape{} : symmetric_shape();
    const Buffer<T> scores(runtime_, shape.rows * padded(shape.cols));
    symmetric_states(rows, cols, false, scores.data(), shape);
  }
  const Buffer<T> overall(runtime_, 1);
  totals(rows, cols, nullptr, result, overall.data());
}

// Work over scores that `work` holds already, if they are all of them, or over new ones.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::symmetric_gradients(const Row* rows, const Row* cols, bool scored,
                                                const PairwiseResultOnDevice<T>& result,
                                                Work& work) {
  find_unit();
  using Rule = SymmetricRule<Loss>;
  const int64_t stride = padded(in_.n);
  const Buffer<T> fields(runtime_, (Rule::kFields + 1) * stride);
  over_items(stride, fields_of_columns<Row, T>, cols, in_.factor, in_.n, stride, fields.data());
  const Rule rule{loss_, rows, cols, in_.factor, fields.data(), stride};
  if (scored) {
    turn(chunk(work.scores.data(), work.shape, 0, 0), rule, result.gradients, work);
  } else {
    all_chunks(rule, result.gradients, work);
  }
  finish_gradients(rule, rows, cols, result, work);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::symmetric_forward_gradient(Row* rows, Row* cols,
                                                       const PairwiseResultOnDevice<T>& result) {
  const Shape shape = symmetric_shape();
  Work work(*this, result.gradients, shape, false);
  const bool all = in_.n > 0 && shape.rows == in_.n && shape.cols == in_.m;
  symmetric_states(rows, cols, all, work.scores.data(), shape);
  symmetric_gradients(rows, cols, all, result, work);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::symmetric_backward(const Row* rows, const Row* cols,
                                               const PairwiseResultOnDevice<T>& result) {
  Work work(*this, result.gradients, symmetric_shape(), false);
  symmetric_gradients(rows, cols, false, result, work);
}

}  // namespace fastloss::device
