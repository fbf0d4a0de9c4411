// PairwiseCpu: losses that must see a row of similarities as a whole (included by pairwise_cpu.h).
//
// A chunk of rows, all panels of them, is filled with similarities. Each row is gathered from its
// panels into one array and handed out; what comes back, the row's derivatives, takes the place of
// its similarities in the chunk, as coefficients ready for the two gradient products: 3 G in all,
// 1 G without gradients.

namespace fastloss {

// What a gradient pass asks of derivatives that lie in the chunk as coefficients already.
template <class Loss, class S>
template <class Overall>
struct PairwiseCpu<Loss, S>::RowCoefficients {
  static constexpr bool kOfRows = false;
  const Overall& factor;
  T overall() const { return factor(); }
};

// Their sums along rows and columns, which the derivative of a distance needs.
template <class Loss, class S>
template <class Overall>
void PairwiseCpu<Loss, S>::tile_coefficients(int64_t, int64_t count, int64_t panel, int64_t place,
                                             const RowCoefficients<Overall>&, const TileSums& sums,
                                             Accumulators& acc, bool) const {
  if (sums.row == nullptr) return;
  const int64_t width = panel_width(panel);
  const T* const tile = acc.scores.data() + place * cols_;
  simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
    for (int64_t r = 0; r < count; ++r) {
      const T* __restrict w = tile + r * cols_;
      T* __restrict col_sum = sums.col;
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < width; ++j) sum += w[j];
      sums.row[r] += sum;
      if (col_sum == nullptr) continue;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) col_sum[j] += w[j];
    }
  });
}

template <class Loss, class S>
template <class Work, class Overall>
void PairwiseCpu<Loss, S>::complete_rows(const Work& work, const Overall& overall, int64_t beside,
                                         const PairwiseGradients<T>& gradients) {
  if (in_.n == 0) return;
  const int64_t m = in_.m;
  if (m == 0) {
    for (int64_t row = 0; row < in_.n; ++row) work(row, 0, nullptr, nullptr);
    if (gradients.query) std::fill_n(gradients.query, in_.n * in_.d, T(0));
    return;
  }
  const bool wanted = gradients.any();
  const host::Buffer<T> arrays(host::threads() * m * (wanted ? 2 : 1));
  beside += arrays.size() * int64_t{sizeof(T)};
  const int64_t bytes = std::max(in_.workspace / 4, in_.workspace - beside);
  const int64_t capacity = chunk_rows(panels_, bytes);
  Accumulators acc(*this, gradients, capacity, panels_, false);
  const RowCoefficients<Overall> coefficients{overall};

  for (int64_t first = 0; first < in_.n; first += capacity) {
    const Chunk chunk{first, std::min(capacity, in_.n - first), 0, panels_, first == 0, true};
    chunk_scores(chunk, acc, kScoresOnly);
    host::for_each_task(chunk.rows, [&](int64_t r, int64_t slot) {
      T* const z = arrays.data() + slot * m * (wanted ? 2 : 1);
      T* const dscore = wanted ? z + m : nullptr;
      T* const spans = acc.scores.data() + r * cols_;
      const int64_t stride = capacity * cols_;
      for (int64_t p = 0; p < panels_; ++p) {
        std::copy_n(spans + p * stride, panel_width(p), z + p * cols_);
      }
      const T factor = work(first + r, slot, z, dscore);
      if (!wanted) return;
      simd::dispatch([=, this]() FASTLOSS_SIMD_LOOP {
        const T* __restrict col = operands_.key_statistic.data();
        for (int64_t p = 0; p < panels_; ++p) {
          T* __restrict span = spans + p * stride;
          const int64_t column = p * cols_;
          const int64_t width = panel_width(p);
          if (is_distance(in_.similarity)) {
            coefficients_of_distances(in_.similarity, in_.scale, factor, dscore + column, span,
                                      width);
            continue;
          }
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) {
            span[j] = factor * dscore[column + j] * col[column + j];
          }
        }
      });
    });
    if (wanted) chunk_gradients(chunk, coefficients, gradients, acc, false);
  }
  if (wanted) finish(coefficients, gradients, acc);
}

}  // namespace fastloss
