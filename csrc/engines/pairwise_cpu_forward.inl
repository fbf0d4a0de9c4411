// PairwiseCpu: score tiles, row states, forward (included by pairwise_cpu.h).

namespace fastloss {

// Scores of queries [row, row + rows) against a packed panel into out (rows × cols_), similarities
// in place, masks set; then visit(r, span) for every row, within one SIMD clone.
template <class Loss, class S>
template <class Visit>
void PairwiseCpu<Loss, S>::score_tile(int64_t row, int64_t rows, int64_t panel, int64_t slot,
                                      T* out, const Visit& visit) {
  const int64_t width = panel_width(panel);
  multiply_tile(row, rows, width, slot, out);
  const T* const cols = operands_.key_statistic.data() + panel * cols_;
  simd::dispatch([=, this, &visit]() FASTLOSS_SIMD_LOOP {
    for (int64_t r = 0; r < rows; ++r) {
      T* const span = out + r * cols_;
      if (similarities_of_span(in_.similarity, in_.scale, operands_.query_statistic[row + r], cols,
                               span, width)) {
        recompute_close(row + r, panel, span);
      }
      mask_group(row + r, panel, span);
      visit(r, span);
    }
  });
}

// out = queries [row, row + rows) times the slot's packed panel.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::multiply_tile(int64_t row, int64_t rows, int64_t width, int64_t slot,
                                         T* out) const {
  if constexpr (std::is_same_v<S, BFloat16>) {
    if (pairs_) {
      return host::multiply(rows, width, in_.d, in_.query + row * in_.d, in_.d,
                            reinterpret_cast<const S*>(packed_panel(slot)), cols_, out, cols_,
                            false);
    }
  }
  host::multiply(rows, width, in_.d, operands_.query.block(row, rows, query_copy(slot)), in_.d,
                 packed_panel(slot), cols_, out, cols_, false);
}

// A span of squared distances some of which are too small to have come from ‖q‖² + ‖k‖² − 2⟨q, k⟩.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::recompute_close(int64_t row, int64_t panel,
                                                                T* span) const {
  const T norm = operands_.query_statistic[row];
  const S* const query = in_.query + row * in_.d;
  for (int64_t j = 0; j < panel_width(panel); ++j) {
    const int64_t column = panel * cols_ + j;
    if (span[j] < kDirectDistance<T> * (norm + operands_.key_statistic[column])) {
      span[j] = detail::squared_distance<T>(query, in_.key + column * in_.d, in_.d);
    }
  }
  similarities_of_distances(in_.similarity, in_.scale, span, panel_width(panel));
}

// Takes the target's similarity out of the span and masks its group, itself included.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void PairwiseCpu<Loss, S>::mask_group(int64_t row, int64_t panel,
                                                           T* span) const {
  const int64_t target = in_.target[row];
  const int64_t first = panel * cols_;
  const int64_t last = first + panel_width(panel);
  if (target >= first && target < last) {
    if constexpr (!TargetFirst<Loss>) target_similarity_[row] = span[target - first];
    span[target - first] = -math::kInfinity<T>;
  }
  if (in_.groups.order == nullptr || target < 0) return;
  const int64_t* column = in_.groups.order + in_.groups.begin[target];
  const int64_t* const end = in_.groups.order + in_.groups.end[target];
  for (column = std::lower_bound(column, end, first); column < end && *column < last; ++column) {
    span[*column - first] = -math::kInfinity<T>;
  }
}

// The state of a span.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE typename Loss::State PairwiseCpu<Loss, S>::push(int64_t row, int64_t panel,
                                                                     const T* span) const {
  const int64_t width = panel_width(panel);
  if constexpr (OnePass<Loss>) {
    T dscore[kMaxTileCols];
    return slopes(row, span, width, dscore);
  } else {
    return loss_.push(span, bias_of(panel), panel * cols_, width);
  }
}

// Similarities and states of the rows' own negatives. Their products are as long as the memory they
// read, so they are taken directly.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::own_scores(int64_t row, int64_t rows, int64_t slot) {
  if (in_.h == 0) return;
  T* const query = query_copy(slot);
  T* const key = key_copy(slot);
  simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
    const Operand<S, T> negatives{in_.negatives, in_.n * in_.h, in_.d};
    const Operand<S, T> queries{in_.query, in_.n, in_.d};
    const bool cosine = in_.similarity == Similarity::kCosine;
    for (int64_t i = row; i < row + rows; ++i) {
      (cosine ? operands_.query : queries).load(i, query);
      const T unit = operands_.query_statistic[i];
      T* const z = own_.data() + i * in_.h;
      for (int64_t k = 0; k < in_.h; ++k) {
        negatives.load(i * in_.h + k, key);
        T product = 0, square = 0, norm = 1;
        if (is_distance(in_.similarity)) {
          square = detail::squared_distance<T>(query, key, in_.d);
        } else {
          product = detail::dot(query, key, in_.d);
        }
        if (cosine) norm = inverse_norm(key, in_.d);
        z[k] = scaled_similarity(in_.similarity, in_.scale, product, unit, norm, square);
      }
      own_state_[i] = State{};
      if constexpr (!OnePass<Loss>) {
        for (int64_t first = 0; first < in_.h; first += kMaxTileCols) {
          const int64_t count = std::min(kMaxTileCols, in_.h - first);
          own_state_[i].merge(loss_.push(z + first, zeros_.data(), -1, count));
        }
      }
    }
  });
}

template <class Loss, class S>
typename Loss::Row PairwiseCpu<Loss, S>::finish_row(int64_t row, State state) const {
  if (in_.h > 0) state.merge(own_state_[row]);
  const int64_t target = in_.target[row];
  if (target < 0) return loss_.finish(state, -math::kInfinity<T>, target);
  const T bias = in_.key_bias != nullptr ? in_.key_bias[target] : T(0);
  return loss_.finish(state, target_similarity_[row] - in_.scale * in_.margin + bias, target);
}

template <class Loss, class S>
typename PairwiseCpu<Loss, S>::Runs PairwiseCpu<Loss, S>::runs_of(int64_t rows) const {
  const int64_t wanted = 4 * host::threads();
  Runs run{8 * block_, 16};
  const auto tasks = [&] {
    return ((rows + run.rows - 1) / run.rows) * ((panels_ + run.panels - 1) / run.panels);
  };
  while (run.panels > 1 && tasks() < wanted) run.panels /= 2;
  while (run.rows > block_ && tasks() < wanted) run.rows /= 2;
  return run;
}

template <class Loss, class S>
void PairwiseCpu<Loss, S>::forward(Row* rows) {
  if (in_.n == 0) return;
  if constexpr (TargetFirst<Loss>) target_scores();
  const auto [run_rows, run_panels] = runs_of(in_.n);
  const int64_t runs = std::max<int64_t>(1, (panels_ + run_panels - 1) / run_panels);
  // Partial states are kept a slab of rows at a time, so that they too stay within the workspace.
  const int64_t state_rows = in_.workspace / 4 / (runs * int64_t{sizeof(State)});
  const int64_t slab = std::min(in_.n, std::max(run_rows, state_rows / run_rows * run_rows));
  const host::Buffer<State> partial(runs * slab);

  for (int64_t first = 0; first < in_.n; first += slab) {
    const int64_t last = std::min(in_.n, first + slab);
    const int64_t tasks = (last - first + run_rows - 1) / run_rows * runs;
    host::for_each_task(tasks, [&, run_rows = run_rows, run_panels = run_panels](int64_t task,
                                                                                 int64_t slot) {
      const int64_t run = task % runs;
      const int64_t begin = first + task / runs * run_rows;
      const int64_t end = std::min(last, begin + run_rows);
      State* const states = partial.data() + run * slab - first;
      std::fill(states + begin, states + end, State{});
      const int64_t stop = std::min(panels_, (run + 1) * run_panels);
      for (int64_t panel = run * run_panels; panel < stop; ++panel) {
        pack_panel(panel, slot);
        for (int64_t row = begin; row < end; row += block_) {
          score_tile(row, std::min(block_, end - row), panel, slot, tile(slot),
                     [=, this](int64_t r, T* span)
                         FASTLOSS_SIMD_LOOP { states[row + r].merge(push(row + r, panel, span)); });
        }
      }
      host::multiply_done();
    });
    host::for_each_task(blocks(last - first), [&](int64_t task, int64_t slot) {
      const int64_t begin = first + task * block_;
      const int64_t end = std::min(last, begin + block_);
      own_scores(begin, end - begin, slot);
      for (int64_t row = begin; row < end; ++row) {
        State state;
        for (int64_t run = 0; run < runs; ++run) state.merge(partial[run * slab + row - first]);
        rows[row] = finish_row(row, state);
      }
    });
  }
}

}  // namespace fastloss
