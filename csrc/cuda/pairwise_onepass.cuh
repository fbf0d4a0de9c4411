// PairwiseCuda: losses without a normaliser (included by pairwise.cuh).
//
// A derivative depends on its score alone, or on the target's too, so one pass over a chunk of any
// shape gives states and w.

namespace fastloss::device {

// Rows and gradients of the operands.
template <class Loss, class S>
void PairwiseCuda<Loss, S>::rows_at_once(Row* rows, const PairwiseResultOnDevice<T>& result) {
  find_unit();
  const auto& gradients = result.gradients;
  const OnePassRule<Loss> rule{loss_, in_.factor, target_similarity_.data()};
  Work work(*this, gradients, cut_shape(gradients), true);
  const Buffer<State> states(runtime_, in_.n);
  if (in_.m == 0) clear(gradients, work);
  all_chunks(rule, gradients, work);
  over_items(in_.n, states_of_sums<State, T>, work.sums.data(), in_.n, states.data());
  finish(states.data(), 0, in_.n, rows);
  if constexpr (TargetFirst<Loss>) {
    over_warps(in_.n, add_targets<Row, S, T, RowParts>, scores_, rows, in_.factor, unit_,
               gradients.query, gradients.key, work.sums.data(),
               work.with_columns ? work.column_sums.data() : nullptr);
  }
  finish_gradients(rule, rows, nullptr, result, work);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::one_pass_forward_gradient(Row* rows,
                                                      const PairwiseResultOnDevice<T>& result) {
  if (result.gradients.of_operands()) return rows_at_once(rows, result);
  forward(rows, result);
}

template <class Loss, class S>
void PairwiseCuda<Loss, S>::one_pass_backward(const Row* rows,
                                              const PairwiseResultOnDevice<T>& result) {
  if (result.gradients.of_operands()) {
    const Buffer<Row> again(runtime_, in_.n);
    return rows_at_once(again.data(), result);
  }
  const Buffer<T> overall(runtime_, 1);
  totals(rows, nullptr, nullptr, result, overall.data());
}

}  // namespace fastloss::device
