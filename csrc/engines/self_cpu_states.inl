// SelfCpu: score tiles and the states of rows (included by self_cpu.h).

namespace fastloss {

// Scores of a tile against the slot's packed panel into out(count × cols_), the row itself and its
// target masked; then visit(r, span) for every row, within one SIMD clone. Of a pair in the block
// itself both orders are one number, for a product may round them apart: against the row's state,
// which has seen one of them, the other is off by a rounding of the size of the scores.
template <class Loss, class S>
template <class Visit>
void SelfCpu<Loss, S>::score_tile(const Panel& panel, const Tile& t, int64_t slot, T* out,
                                  const Visit& visit) {
  tiles_.multiply(rows(), t.row, t.count, t.from, t.width, slot, out);
  const T* const row_statistic = this->row_statistic();
  simd::dispatch([=, this, &panel, &visit]() FASTLOSS_SIMD_LOOP {
    for (int64_t r = 1; r < t.square; ++r) {
      for (int64_t c = 0; c < r; ++c) out[r * cols_ + t.from + c] = out[c * cols_ + t.from + r];
    }
    for (int64_t r = 0; r < t.count; ++r) {
      const int64_t row = t.row + r;
      T* const span = out + r * cols_;
      if (similarities_of_span(in_.similarity, in_.scale, row_statistic[row],
                               panel.statistic + t.from, span + t.from, t.width - t.from)) {
        recompute_close(row, panel, t.from, span);
      }
      if (panel.own) mask(row, panel, t.from, span);
      visit(r, span);
    }
  });
}

// A span of squared distances some of which are too small to have come from ‖x‖² + ‖y‖² − 2⟨x, y⟩.
template <class Loss, class S>
FASTLOSS_HOST_DEVICE void SelfCpu<Loss, S>::recompute_close(int64_t row, const Panel& panel,
                                                            int64_t from, T* span) const {
  const T norm = row_statistic()[row];
  const S* const x = in_.rows + row * in_.d;
  for (int64_t j = from; j < panel.width; ++j) {
    if (span[j] < kDirectDistance<T> * (norm + panel.statistic[j])) {
      span[j] = detail::squared_distance<T>(x, panel.side.data + (panel.first + j) * in_.d, in_.d);
    }
  }
  similarities_of_distances(in_.similarity, in_.scale, span + from, panel.width - from);
}

template <class Loss, class S>
FASTLOSS_HOST_DEVICE void SelfCpu<Loss, S>::mask(int64_t row, const Panel& panel, int64_t from,
                                                 T* span) const {
  const int64_t itself = row - panel.first;
  if (itself >= from && itself < panel.width) span[itself] = -math::kInfinity<T>;
  if constexpr (Loss::kPaired) {
    const int64_t target = partner(row) - panel.first;
    if (target < from || target >= panel.width) return;
    // The pair's other half is not visited, or here as well.
    target_similarity_[row] = target_similarity_[partner(row)] = span[target];
    span[target] = -math::kInfinity<T>;
  }
}

// Rows [first, last) complete: all rows, or rows that are not candidates themselves. The tiles of
// the rows before `kept` stay in acc.
template <class Loss, class S>
void SelfCpu<Loss, S>::states(int64_t first, int64_t last, int64_t kept, Accumulators* acc,
                              Row* rows) {
  if (panels_ == 0) {  // no candidates
    for (int64_t i = first; i < last; ++i) rows[i] = loss_.finish(State{}, -math::kInfinity<T>);
    return;
  }
  // A task is a run of rows against a run of panels: long runs of rows share the packing of a
  // panel, short ones keep all threads busy.
  int64_t run_rows = 8 * block_, run_panels = 16;
  const auto row_runs = [&] { return (last - first + run_rows - 1) / run_rows; };
  const auto panel_runs = [&] { return (panels_ + run_panels - 1) / run_panels; };
  const int64_t wanted = 4 * host::threads() * (in_.itself ? 2 : 1);
  while (run_panels > 1 && row_runs() * panel_runs() < wanted) run_panels /= 2;
  while (run_rows > block_ && row_runs() * panel_runs() < wanted) run_rows /= 2;
  // Partial states, one a row and run of panels and one a column and run of rows, are kept a slab
  // of panels at a time, so that they too stay within the workspace.
  const int64_t room = state_bytes() / int64_t{sizeof(State)};
  const int64_t column_states = in_.itself ? row_runs() * cols_ : 0;
  const auto slab_runs = [&] { return room / (last - first + column_states * run_panels); };
  while (run_panels > 1 && slab_runs() == 0) run_panels /= 2;
  const int64_t slab = run_panels * std::clamp<int64_t>(slab_runs(), 1, panel_runs());
  const int64_t runs = row_runs(), count = last - first;
  const host::Buffer<State> total(count, State{});
  const host::Buffer<State> of_rows(slab / run_panels * count);
  const host::Buffer<State> of_cols(column_states * slab);

  for (int64_t begin = 0; begin < panels_; begin += slab) {
    const int64_t end = std::min(panels_, begin + slab);
    const int64_t tasks = (end - begin + run_panels - 1) / run_panels;
    host::for_each_task(runs * tasks, [&](int64_t task, int64_t slot) {
      const int64_t row_run = task / tasks, panel_run = task % tasks;
      const int64_t row0 = first + row_run * run_rows, row1 = std::min(last, row0 + run_rows);
      State* const row_states = of_rows.data() + panel_run * count - first;
      std::fill(row_states + row0, row_states + row1, State{});
      const int64_t p0 = begin + panel_run * run_panels, p1 = std::min(end, p0 + run_panels);
      for (int64_t p = p0; p < p1; ++p) {
        const Panel panel = this->panel(p);
        State* const col_states = of_cols.data() + (row_run * slab + p - begin) * cols_;
        if (panel.own) std::fill(col_states, col_states + cols_, State{});
        const int64_t stop = row0 + std::max<int64_t>(0, height(row0, row1, p));
        if (stop > row0) tiles_.pack(panel.side, panel.first, panel.width, slot);
        for (int64_t row = row0; row < stop; row += block_) {
          const Tile t = tile_of(row, std::min(block_, stop - row), panel);
          T* const out = row < kept ? acc->tile(p, row) : tiles_.tile(slot);
          score_tile(panel, t, slot, out, [=, this](int64_t r, T* span) FASTLOSS_SIMD_LOOP {
            row_states[row + r].merge(
                loss_.push(span + t.from, row + r, panel.column + t.from, t.width - t.from));
          });
          const int64_t both = t.both();
          if (panel.own && both < t.width) {
            simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
              loss_.push_columns(out + both, cols_, t.count, t.width - both, row,
                                 panel.column + both, col_states + both);
            });
          }
        }
      }
      host::multiply_done();
    });
    const int64_t col0 = begin * cols_, col1 = in_.itself ? std::min(count, end * cols_) : 0;
    host::for_each_task(parts(count), [&](int64_t part, int64_t) {
      for (int64_t i = part * kPart; i < std::min(count, (part + 1) * kPart); ++i) {
        for (int64_t run = 0; run < tasks; ++run) total[i].merge(of_rows[run * count + i]);
        if (i < col0 || i >= col1) continue;
        for (int64_t run = 0; run < runs; ++run) {
          total[i].merge(of_cols[run * slab * cols_ + i - col0]);
        }
      }
    });
  }
  host::for_each_task(parts(count), [&](int64_t part, int64_t) {
    for (int64_t i = part * kPart; i < std::min(count, (part + 1) * kPart); ++i) {
      const int64_t row = first + i;
      rows[row] = loss_.finish(total[i], Loss::kPaired ? target_similarity_[row] : T(0));
    }
  });
}

template <class Loss, class S>
void SelfCpu<Loss, S>::forward(Row* rows) {
  if (in_.n > 0) states(0, in_.n, 0, nullptr, rows);
}

}  // namespace fastloss
