// PairwiseCpu: losses of rows and of columns (included by pairwise_cpu.h).

namespace fastloss {

// One pass over all scores for the states of rows and columns; the tiles go to `kept`, (panels, n,
// cols_), or nowhere if it is null.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::symmetric_states(Row* rows, Row* cols, T* kept) {
  if (in_.n == 0) return;
  const int64_t n = in_.n, padded = panels_ * cols_;
  auto [run_rows, run_panels] = runs_of(n);
  // The columns' partial states, one a column and run of rows, stay small beside the workspace.
  const int64_t state_runs = in_.workspace / 16 / (padded * int64_t{sizeof(State)});
  run_rows = std::max(run_rows, n / std::max<int64_t>(state_runs, 1) / block_ * block_);
  const int64_t row_runs = (n + run_rows - 1) / run_rows;
  const int64_t panel_runs = (panels_ + run_panels - 1) / run_panels;
  const host::Buffer<State> of_rows(panel_runs * n, State{});
  const host::Buffer<State> of_cols(row_runs * padded, State{});

  const auto visit_run = [&, run_rows = run_rows, run_panels = run_panels](int64_t task,
                                                                           int64_t slot) {
    const int64_t run = task % panel_runs, row_run = task / panel_runs;
    const int64_t end = std::min(n, (row_run + 1) * run_rows);
    State* const row_states = of_rows.data() + run * n;
    const int64_t stop = std::min(panels_, (run + 1) * run_panels);
    for (int64_t panel = run * run_panels; panel < stop; ++panel) {
      const int64_t column = panel * cols_, width = panel_width(panel);
      const T* const bias = bias_of(panel);
      State* const col_states = of_cols.data() + row_run * padded + column;
      pack_panel(panel, slot);
      for (int64_t row = row_run * run_rows; row < end; row += block_) {
        const int64_t count = std::min(block_, end - row);
        T* const out = kept != nullptr ? kept + (panel * n + row) * cols_ : tile(slot);
        score_tile(row, count, panel, slot, out, [=, this](int64_t r, T* span) FASTLOSS_SIMD_LOOP {
          row_states[row + r].merge(loss_.push(span, bias, column, width));
        });
        simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
          loss_.push_columns(out, cols_, count, width, col_states);
        });
      }
    }
    host::multiply_done();
  };
  host::for_each_task(row_runs * panel_runs, visit_run);

  for (int64_t i = 0; i < n; ++i) {
    State row, col;
    for (int64_t run = 0; run < panel_runs; ++run) row.merge(of_rows[run * n + i]);
    for (int64_t run = 0; run < row_runs; ++run) col.merge(of_cols[run * padded + i]);
    rows[i] = finish_row(i, row);
    cols[i] = finish_row(i, col);  // the same target: the diagonal
  }
}

template <class Loss, class S>
template <class PairGrad>
void PairwiseCpu<Loss, S>::symmetric_forward_gradient(Row* rows, Row* cols,
                                                      const PairGrad& pair_grad,
                                                      const PairwiseGradients<T>& gradients) {
  const int64_t n = in_.n;
  if (n == 0) return;
  if (room_for_rows(panels_, in_.workspace) < n) {
    symmetric_states(rows, cols, nullptr);
    symmetric_backward(rows, cols, pair_grad, gradients);
    return;
  }
  Accumulators acc(*this, gradients, n, panels_, false);
  symmetric_states(rows, cols, acc.scores.data());
  const SymmetricDerivatives<Loss, PairGrad> derivatives(loss_, rows, cols, n, pair_grad);
  // Chunk by chunk, so that the second product finds the coefficients in cache.
  const int64_t step = chunk_rows(panels_, in_.workspace);
  for (int64_t first = 0; first < n; first += step) {
    const Chunk chunk{first, std::min(step, n - first), 0, panels_, first == 0, true, first};
    chunk_gradients(chunk, derivatives, gradients, acc, false);
  }
  finish(derivatives, gradients, acc);
}

template <class Loss, class S>
template <class PairGrad>
void PairwiseCpu<Loss, S>::symmetric_backward(const Row* rows, const Row* cols,
                                              const PairGrad& pair_grad,
                                              const PairwiseGradients<T>& gradients) {
  if (in_.n == 0) return;
  all_chunks(SymmetricDerivatives<Loss, PairGrad>(loss_, rows, cols, in_.n, pair_grad), gradients);
}

}  // namespace fastloss
