// The CPU loop of the engine of labelled rows (contract: labelled_rows.h): complete rows of the
// pairwise engine's tiles, each handed to the functor with its positives and negatives.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "engines/labelled_rows.h"
#include "engines/pairwise_cpu.h"
#include "engines/row_pairs.h"

namespace fastloss {

template <class S, class T>
class LabelledRows {
 public:
  explicit LabelledRows(const LabelledInput<S>& input)
      : in_(input), no_target_(input.n, int64_t{-1}) {}

  // rows[i] = loss.row(…) for every anchor. factor(i) multiplies the gradients of anchor i,
  // overall(), asked last, all of them.
  template <class Loss, class Row, class Factor, class Overall>
  void run(const Loss& loss, Row* rows, const Factor& factor, const Overall& overall,
           const PairwiseGradients<T>& gradients) const {
    run_rows(
        [&](RowPairs<T>& pairs, int64_t row, T* dscore) {
          rows[row] = loss.row(pairs, dscore);
          return factor(row);
        },
        overall, gradients);
  }

 private:
  // Once a storage type, not once a loss.
  void run_rows(const std::function<T(RowPairs<T>&, int64_t, T*)>& visit,
                const std::function<T()>& overall, const PairwiseGradients<T>& gradients) const {
    std::vector<RowPairs<T>> pairs;
    for (int64_t slot = 0; slot < host::threads(); ++slot) pairs.emplace_back(in_.m, in_.most);
    PairwiseInput<S, T> input{};
    input.n = in_.n, input.m = in_.m, input.d = in_.d;
    input.query = in_.anchors, input.key = in_.candidates;
    input.target = no_target_.data();
    input.similarity = in_.similarity;
    input.scale = 1;
    input.workspace = in_.workspace;
    PairwiseCpu<CompleteRows<T>, S>(input, {}).complete_rows(
        [&](int64_t row, int64_t slot, T* z, T* dscore) {
          const int64_t* const same = in_.same.order + in_.same.begin[row];
          const int64_t count = in_.same.end[row] - in_.same.begin[row];
          const int64_t self = in_.itself ? row : -1;
          pairs[slot].set(z, same, count, self);
          if (dscore != nullptr) std::fill_n(dscore, in_.m, T(0));
          return visit(pairs[slot], row, dscore);
        },
        overall, host::threads() * RowPairs<T>::bytes(in_.m, in_.most), gradients);
  }

  LabelledInput<S> in_;
  host::Buffer<int64_t> no_target_;
};

}  // namespace fastloss
