// PairwiseCpu: losses without a normaliser (included by pairwise_cpu.h).
//
// A derivative depends on its score alone, or on the target's too, so rectangles of the matrix need
// no complete rows: a tile becomes coefficients as it is made. The gradient of a number that
// multiplies or shifts all scores is a sum of what the rows know of themselves.

namespace fastloss {

// The targets' similarities, ahead of all others: a row's target is its own column. Its rounding
// error is in every gap of the row, so products are summed in double; from there on it goes the way
// of all other scores, so that what the row's norm and the scale are rounded by cancels in the
// gaps.
template <class Loss, class S>
void PairwiseCpu<Loss, S>::target_scores() {
  host::for_each_task(blocks(in_.n), [&](int64_t block, int64_t slot) {
    T* const query = query_copy(slot);
    T* const key = key_copy(slot);
    simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
      const int64_t d = in_.d, last = std::min(in_.n, (block + 1) * block_);
      for (int64_t i = block * block_; i < last; ++i) {
        operands_.query.load(i, query);
        operands_.key.load(i, key);
        double product = 0;
#pragma omp simd reduction(+ : product)
        for (int64_t c = 0; c < d; ++c) {
          product += static_cast<double>(query[c]) * static_cast<double>(key[c]);
        }
        T z = static_cast<T>(product);
        if (similarities_of_span(in_.similarity, in_.scale, operands_.query_statistic[i],
                                 operands_.key_statistic.data() + i, &z, 1)) {
          const T square = detail::squared_distance<T>(in_.query + i * d, in_.key + i * d, d);
          z = scaled_similarity(in_.similarity, in_.scale, T(0), T(0), T(0), square);
        }
        target_similarity_[i] = z;
      }
    });
  });
}

// Fills a rectangle with coefficients, all but those of targets whose derivatives are known last,
// and acc.spans with what its spans add to their rows.
template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::chunk_coefficients(const Chunk& chunk, const RowGrad& row_grad,
                                              Accumulators& acc) {
  State* const spans = acc.spans.data();
  const int64_t capacity = acc.capacity;
  const auto turn = [=, this, &row_grad](int64_t panel, int64_t row,
                                         T* __restrict span) FASTLOSS_SIMD_LOOP {
    const int64_t width = panel_width(panel);
    const T* __restrict cols = operands_.key_statistic.data() + panel * cols_;
    const Similarity kind = in_.similarity;
    const T factor = row_grad(row), scale = in_.scale;
    T dscore[kMaxTileCols];
    spans[(panel - chunk.panel) * capacity + row - chunk.row] = slopes(row, span, width, dscore);
    if (!is_distance(kind)) {
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) span[j] = factor * dscore[j] * cols[j];
    } else {
      coefficients_of_distances(kind, scale, factor, dscore, span, width);
    }
    if constexpr (!Loss::kTargetFirst) {
      const int64_t j = in_.target[row] - panel * cols_;
      if (j < 0 || j >= width) return;
      const T dtarget = finish_row(row, State{}).dtarget;
      span[j] = coefficient(kind, scale, target_similarity_[row], cols[j], factor * dtarget);
    }
  };
  chunk_tiles(chunk, acc, turn);
}

// Rows and gradients of the operands, rectangle by rectangle. `overall` is asked at the end.
template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::all_at_once(Row* rows, const RowGrad& row_grad,
                                       const PairwiseGradients<T>& gradients) {
  const host::Buffer<State> states(in_.n, State{});
  const auto merge = [&](const Chunk& chunk, const Accumulators& acc) {
    host::for_each_task(blocks(chunk.rows), [&](int64_t block, int64_t) {
      const int64_t last = std::min(chunk.rows, (block + 1) * block_);
      for (int64_t p = 0; p < chunk.panels; ++p) {
        for (int64_t r = block * block_; r < last; ++r) {
          states[chunk.row + r].merge(acc.spans[p * acc.capacity + r]);
        }
      }
    });
  };
  const FormedDerivatives<Loss, RowGrad> derivatives{rows, row_grad};
  const auto [capacity, panels] = rectangle();
  Accumulators acc(*this, gradients, capacity, panels, true);
  if constexpr (Loss::kTargetFirst) target_scores();
  for_each_chunk(capacity, panels, [&](const Chunk& chunk) {
    chunk_coefficients(chunk, row_grad, acc);
    merge(chunk, acc);
    chunk_gradients(chunk, derivatives, gradients, acc, false);
  });
  for (int64_t i = 0; i < in_.n; ++i) rows[i] = finish_row(i, states[i]);
  if constexpr (Loss::kTargetFirst) add_targets(derivatives, gradients, acc);
  finish(derivatives, gradients, acc);
}

// What the targets' derivatives add to the gradients of rows and keys: row i and column i are a
// pair, so the task that has them owns both.
template <class Loss, class S>
template <class Derivatives>
void PairwiseCpu<Loss, S>::add_targets(const Derivatives& derivatives,
                                       const PairwiseGradients<T>& gradients, Accumulators& acc) {
  host::for_each_task(panels_, [&](int64_t panel, int64_t slot) {
    const int64_t d = in_.d, first = panel * cols_, width = panel_width(panel);
    const int64_t count = std::min(width, in_.n - first);
    if (count <= 0) return;
    T* const key = key_copy(slot);
    simd::dispatch([=, this, &derivatives, &gradients, &acc]() FASTLOSS_SIMD_LOOP {
      T factor[kMaxTileCols];
      for (int64_t j = 0; j < count; ++j) {
        const int64_t i = first + j;
        const T w = coefficient(in_.similarity, in_.scale, target_similarity_[i],
                                operands_.key_statistic[i], derivatives.of_target(i));
        if (acc.row_sum.size()) acc.row_sum[i] += w;
        if (acc.col_sum.size()) acc.col_sum[i] += w;
        factor[j] = row_factor(i) != nullptr ? w * *row_factor(i) : w;
        if (gradients.query == nullptr) continue;
        operands_.key.load(i, key);
        T* __restrict grad = gradients.query + i * d;
#pragma omp simd
        for (int64_t c = 0; c < d; ++c) grad[c] += w * key[c];
      }
      if (gradients.key == nullptr) return;
      T* const turned = packed_panel(slot);
      operands_.query.transposed(first, count, factor, strip(slot), turned, cols_);
      for (int64_t c = 0; c < d; ++c) {
        T* __restrict grad = gradients.key + first * d + c * width;
        const T* __restrict from = turned + c * cols_;
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) grad[j] += from[j];
      }
    });
  });
}

template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::sum_rows(const Row* rows, const RowGrad& row_grad,
                                    const PairwiseGradients<T>& gradients) const {
  const auto overall = static_cast<double>(row_grad.overall(rows));
  if (gradients.scale) {
    double moment = 0;
    for (int64_t i = 0; i < in_.n; ++i) moment += static_cast<double>(row_grad(i) * rows[i].moment);
    *gradients.scale = moment * overall / static_cast<double>(in_.scale);
  }
  if constexpr (requires { rows->slope; }) {
    if (!gradients.shift) return;
    double slope = 0;
    for (int64_t i = 0; i < in_.n; ++i) slope += static_cast<double>(row_grad(i) * rows[i].slope);
    *gradients.shift = slope * overall;
  }
}

template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::one_pass_forward_gradient(Row* rows, const RowGrad& row_grad,
                                                     const PairwiseGradients<T>& gradients) {
  if (gradients.of_operands().any() && in_.n > 0 && in_.m > 0) {
    all_at_once(rows, row_grad, gradients.of_operands());
  } else {
    forward(rows);
    if (gradients.query) std::fill_n(gradients.query, in_.n * in_.d, T(0));
  }
  sum_rows(rows, row_grad, gradients);
}

template <class Loss, class S>
template <class RowGrad>
void PairwiseCpu<Loss, S>::one_pass_backward(const Row* rows, const RowGrad& row_grad,
                                             const PairwiseGradients<T>& gradients) {
  if (gradients.of_operands().any()) {
    const host::Buffer<Row> again(in_.n);
    one_pass_forward_gradient(again.data(), row_grad, gradients.of_operands());
  }
  sum_rows(rows, row_grad, gradients);
}

}  // namespace fastloss
