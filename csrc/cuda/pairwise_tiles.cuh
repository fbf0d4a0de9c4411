// PairwiseCuda: passes whose scores the tensor-core kernels make (included by pairwise.cuh).

namespace fastloss::device {

template <class Loss, class S>
mma::PairwiseMask PairwiseCuda<Loss, S>::tile_mask() const {
  if constexpr (mma::kHasTiles<S>) {
    float* const target = target_similarity_.data();
    return {in_.m,
            in_.target,
            in_.key_ids,
            OnePass<Loss> ? nullptr : in_.key_bias,
            TargetFirst<Loss> ? nullptr : target,
            TargetFirst<Loss> ? target : nullptr};
  } else {
    return {};
  }
}

// The states of all rows, and of all columns if asked for, without a score written.
template <class Loss, class S>
bool PairwiseCuda<Loss, S>::push_by_tiles(State* rows, State* columns) {
  if constexpr (mma::kHasTiles<S>) {
    if (!in_.tiles) return false;
    over_items(in_.n, fill<State>, rows, in_.n, State{});
    if (columns) over_items(in_.m, fill<State>, columns, in_.m, State{});
    const auto products = aligned().products(in_.scale);
    const int64_t bytes = in_.workspace / 4;
    if constexpr (requires { &Loss::push_columns; }) {
      mma::add_states<S, Loss, mma::PairwiseMask, true>(runtime_, products, loss_, tile_mask(),
                                                        false, bytes, rows, columns);
    } else {
      mma::add_states<S, Loss, mma::PairwiseMask, false>(runtime_, products, loss_, tile_mask(),
                                                         false, bytes, rows, nullptr);
    }
    return true;
  } else {
    return false;
  }
}

// A chunk's w, from operands to gradients. False: nothing is done, it is the library's.
template <class Loss, class S>
template <class Rule>
bool PairwiseCuda<Loss, S>::turn_by_tiles(const Chunk<T>& chunk, const Rule& rule,
                                          const PairwiseGradientsOnDevice<T>& gradients,
                                          Work& work) {
  if constexpr (mma::kHasTiles<S>) {
    const bool of_bias = gradients.key_bias != nullptr;
    if (!in_.tiles || chunk.cols > mma::kMostColumns ||
        (work.with_columns && !mma::has_column_sums(in_.similarity, of_bias))) {
      return false;
    }
    const auto make = [&](auto stored) {
      using W = decltype(stored);
      constexpr int64_t kNarrower = sizeof(T) / sizeof(W);
      mma::fill_coefficients<S, W, Rule>(
          runtime_, aligned().products(in_.scale),
          {reinterpret_cast<W*>(chunk.scores), chunk.stride * kNarrower, chunk.row, chunk.rows,
           chunk.col, chunk.cols},
          rule, tile_mask(), in_.margin, unit_, gradients.scale != nullptr,
          work.with_sums ? work.sums.data() : nullptr,
          work.with_columns ? work.column_sums.data() : nullptr);
    };
    if (short_chunk()) {
      make(S{});
    } else {
      make(T{});
    }
    multiply_gradients(chunk, gradients);
    return true;
  } else {
    return false;
  }
}

}  // namespace fastloss::device
