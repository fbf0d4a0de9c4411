// The tensors of one set as the device's engine takes them (engines/self_torch.inl on the CPU).
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <string>

#include "cuda/arguments_torch.h"
#include "cuda/engine_torch.h"
#include "cuda/self_input.h"
#include "engines/self_torch.h"

namespace fastloss::device {

template <class S>
class SelfDeviceArguments : public HeldOnDevice<typename Stored<S>::Accumulated> {
 public:
  using T = typename Stored<S>::Accumulated;
  using Held = HeldOnDevice<T>;
  using Held::guarded;
  using Held::hold;

  SelfOnDevice<S, T> input{};
  const int32_t* labels = nullptr;  // (n + k + kSelfPad): equal where the labels are

  // `of_pairs`: what a mean divides by is a number of pairs.
  SelfDeviceArguments(const std::string& name, const SelfTensors& t, bool paired, bool of_pairs,
                      const at::Tensor* upstream)
      : Held(name, t.rows) {
    if (t.rows.dim() != 2) fail(name, std::string(t.names.rows) + " must have 2 dimensions");
    const int64_t n = input.n = t.rows.size(0), d = input.d = t.rows.size(1);
    if (d == 0) fail(name, std::string(t.names.rows) + " must have at least one feature");
    if (paired && n % 2 != 0) fail(name, "both views must have as many rows");
    input.rows = stored_data<S>(hold(guarded(t.names.rows, t.rows, Stored<S>::dtype, {n, d})));
    if (t.others) {
      if (t.others->dim() != 2) fail(name, std::string(t.names.others) + " must have 2 dimensions");
      input.k = t.others->size(0);
      input.others =
          stored_data<S>(hold(guarded(t.names.others, *t.others, Stored<S>::dtype, {input.k, d})));
    }
    input.itself = t.itself;
    rows(t, paired, of_pairs, upstream);
    if (t.labels) rank_labels(t);
    input.similarity = similarity_of(name, t.similarity);
    input.scale = this->scale_of("temperature", t.scale);
    input.scale_divides = t.scale.divides;
    input.workspace = t.workspace;
    input.tiles = takes_tiles<S>(name, t.rows);
  }

 private:
  // Factors of rows, and what a mean divides by.
  void rows(const SelfTensors& t, bool paired, bool of_pairs, const at::Tensor* upstream) {
    const int64_t n = input.n;
    RowArguments<T> rows{.n = n, .has_target = false};
    if (t.weights) {
      const int64_t own = paired ? n / 2 : n;
      const at::Tensor weights =
          guarded("weights", t.weights->to(Stored<T>::dtype), Stored<T>::dtype, {own});
      rows.weights = stored_data<T>(hold(paired ? at::cat({weights, weights}) : weights));
    }
    if (upstream != nullptr) {
      rows.upstream = stored_data<T>(hold(guarded("grad_loss", *upstream, Stored<T>::dtype, {n})));
    }
    if (of_pairs) {
      const auto options = this->first_.options().dtype(at::kLong);
      const at::Tensor pairs = input.itself ? at::arange(n - 1 + input.k, input.k - 1, -1, options)
                                            : at::zeros({n}, options).add(input.k);
      rows.pairs = hold(pairs.contiguous()).template const_data_ptr<int64_t>();
    }
    T* const factor = this->room(n);
    T* const counted = this->room(n);
    prepare_rows<T>(this->runtime_, rows, this->template room<int64_t>(n), factor, counted);
    input.factor = factor;
    input.counted = counted;
  }

  void rank_labels(const SelfTensors& t) {
    const int64_t n = input.n, all = n + input.k;
    if (t.others.has_value() != t.other_labels.has_value()) {
      fail(this->name_, std::string(t.names.others) + " and " + t.names.other_labels +
                            " must be given together");
    }
    at::Tensor label = guarded(t.names.labels, *t.labels, at::kLong, {n});
    if (t.others) {
      label =
          at::cat({label, guarded(t.names.other_labels, *t.other_labels, at::kLong, {input.k})});
    }
    const at::Tensor rank = at::zeros({all + kSelfPad}, label.options().dtype(at::kInt));
    if (all > 0) {
      const auto [sorted, order] = at::sort(label);
      at::Tensor place = at::zeros({all}, rank.options());
      if (all > 1) {
        const at::Tensor begins = sorted.narrow(0, 1, all - 1).ne(sorted.narrow(0, 0, all - 1));
        place.narrow(0, 1, all - 1).copy_(at::cumsum(begins, 0));
      }
      rank.narrow(0, 0, all).scatter_(0, order, place);
    }
    labels = hold(rank).template const_data_ptr<int32_t>();
  }
};

}  // namespace fastloss::device
