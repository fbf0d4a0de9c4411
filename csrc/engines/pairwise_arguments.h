// Tensors to the engine's input: every pointer checked, every value in range.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/tensor.h>

#include <string>
#include <vector>

#include "engines/held_arguments.h"
#include "engines/pairwise.h"
#include "engines/pairwise_torch.h"

namespace fastloss {

// The tensors as dense arrays of checked shape, kept alive for as long as the engine reads them.
template <class S>
class Arguments : HeldArguments<typename Stored<S>::Accumulated> {
 public:
  using T = typename Stored<S>::Accumulated;

  PairwiseInput<S, T> input{};
  const T* key_weight = nullptr;
  const T* weights = nullptr;   // (input.n): factors of the rows' losses
  const T* divisors = nullptr;  // (input.n): what a mean divides by, where it is not the weights
  int64_t all_rows = 0;         // ignored ones included
  at::Tensor kept;              // (input.n) int64: the rows that are not ignored; undefined = all

  Arguments(const std::string& name, const PairwiseTensors& t, bool with_target)
      : HeldArguments<T>(name) {
    if (t.query.dim() != 2 || t.key.dim() != 2) {
      fail(name, std::string(t.names.query) + " and " + t.names.key + " must have 2 dimensions");
    }
    all_rows = input.n = t.query.size(0);
    const int64_t d = input.d = t.query.size(1), m = input.m = t.key.size(0);
    if (d == 0) {
      fail(name, std::string(t.names.query) + " must have at least one feature, got shape " +
                     show(t.query.sizes()));
    }
    at::Tensor query = guarded(name, t.names.query, t.query, Stored<S>::dtype, {all_rows, d});
    input.key = stored_data<S>(hold(guarded(name, t.names.key, t.key, Stored<S>::dtype, {m, d})));
    targets(t, with_target);
    if (kept.defined()) query = at::index_select(query, 0, kept);
    input.query = stored_data<S>(hold(query));
    if (t.negatives) {
      if (t.negatives->dim() != 3) fail(name, "negatives must have 3 dimensions");
      input.h = t.negatives->size(1);
      input.negatives = stored_data<S>(
          hold(guarded(name, "negatives", *t.negatives, Stored<S>::dtype, {input.n, input.h, d})));
    }
    input.key_bias = accumulated(t.names.key_bias, t.key_bias, m);
    key_weight =
        not_negative(t.names.key_weight, accumulated(t.names.key_weight, t.key_weight, m), m);
    weights = not_negative("weights", accumulated("weights", t.weights, input.n), input.n);
    if (key_weight != nullptr) divide_by_key_weights();
    if (t.key_ids) groups(guarded(name, "key_ids", *t.key_ids, at::kLong, {m}));
    if (t.mean_of_pairs) divide_by_pairs();
    input.scale = this->scale_of(t.names.scale, t.scale);
    input.similarity = similarity_of(name, t.similarity);
    input.margin = static_cast<T>(t.margin);
    input.workspace = t.workspace;
  }

 private:
  using HeldArguments<T>::accumulated;
  using HeldArguments<T>::hold;
  using HeldArguments<T>::name_;
  using HeldArguments<T>::not_negative;

  void divide_by_key_weights() {
    T* const out = hold(at::empty({input.n}, Stored<T>::dtype)).template data_ptr<T>();
    for (int64_t i = 0; i < input.n; ++i) out[i] = key_weight[input.target[i]];
    divisors = out;
  }

  // A row has as many pairs as there are keys that neither are its target nor have its id.
  void divide_by_pairs() {
    T* const out = hold(at::empty({input.n}, Stored<T>::dtype)).template data_ptr<T>();
    const KeyGroups& groups = input.groups;
    for (int64_t i = 0; i < input.n; ++i) {
      const int64_t t = input.target[i];
      const int64_t left = groups.order != nullptr ? groups.end[t] - groups.begin[t] : 1;
      out[i] = (weights != nullptr ? weights[i] : T(1)) * static_cast<T>(input.m - left);
    }
    divisors = out;
  }

  // Fills input.target, and `kept` and input.n if some rows are ignored.
  void targets(const PairwiseTensors& t, bool with_target) {
    const int64_t n = input.n;
    if (!with_target || !t.target) {
      if (with_target && n > input.m) {
        fail(name_, std::string(t.names.key) + " must have at least as many rows as " +
                        t.names.query + " when no target is given, got " + std::to_string(input.m) +
                        " keys for " + std::to_string(n) + " queries");
      }
      int64_t* const own = hold(at::full({n}, -1, at::kLong)).template data_ptr<int64_t>();
      for (int64_t i = 0; with_target && i < n; ++i) own[i] = i;
      input.target = own;
      return;
    }
    at::Tensor target = guarded(name_, "target", *t.target, at::kLong, {n});
    const int64_t* const value = target.template const_data_ptr<int64_t>();
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < n; ++i) {
      if (t.ignored_target && value[i] == *t.ignored_target) continue;
      rows.push_back(i);
      if (value[i] >= (t.target_may_lack ? -1 : 0) && value[i] < input.m) continue;
      fail(name_, "target must be in [0, " + std::to_string(input.m) + ")" +
                      (t.target_may_lack ? " or -1, no target" : "") +
                      (t.ignored_target ? " or ignore_index, " + std::to_string(*t.ignored_target)
                                        : std::string()) +
                      ", got " + std::to_string(value[i]) + " at " + std::to_string(i));
    }
    if (const auto count = static_cast<int64_t>(rows.size()); count < n) {
      kept = at::tensor(rows, at::kLong);
      input.n = count;
      target = at::index_select(target, 0, kept);
    }
    input.target = hold(target).template const_data_ptr<int64_t>();
  }

  // Columns sorted by id; the sort is stable, so that a group's columns ascend.
  void groups(const at::Tensor& ids) {
    const auto [sorted, order] = at::sort(ids, true, 0, false);
    const int64_t* const value = hold(sorted).template const_data_ptr<int64_t>();
    input.groups.order = hold(order).template const_data_ptr<int64_t>();
    int64_t* const begin = hold(at::empty({input.m}, at::kLong)).template data_ptr<int64_t>();
    int64_t* const end = hold(at::empty({input.m}, at::kLong)).template data_ptr<int64_t>();
    for (int64_t first = 0, last = 0; first < input.m; first = last) {
      while (last < input.m && value[last] == value[first]) ++last;
      for (int64_t k = first; k < last; ++k) {
        begin[input.groups.order[k]] = first;
        end[input.groups.order[k]] = last;
      }
    }
    input.groups.begin = begin;
    input.groups.end = end;
  }
};

}  // namespace fastloss
