// Tensors to the listwise engine's input: every pointer checked, every value in range.
#pragma once

#include <string>
#include <vector>

#include "engines/listwise.h"
#include "engines/listwise_torch.h"
#include "engines/pairwise_arguments.h"

namespace fastloss {

inline ListReduction list_reduction_of(const std::string& name, const std::string& reduction) {
  if (reduction == "mean") return ListReduction::kMean;
  if (reduction == "sum") return ListReduction::kSum;
  if (reduction == "none") return ListReduction::kNone;
  if (reduction == "mean_list") return ListReduction::kMeanList;
  fail(name,
       "reduction must be \"mean\", \"sum\", \"none\" or \"mean_list\", got \"" + reduction + "\"");
}

// Ascending from 0 to `items`; returns the number of lists.
inline int64_t checked_offsets(const std::string& name, const at::Tensor& offsets, int64_t items) {
  const int64_t count = offsets.numel();
  if (offsets.dim() != 1 || count < 1) {
    fail(name, "offsets must have shape (b + 1,), got " + show(offsets.sizes()));
  }
  const int64_t* const value = offsets.const_data_ptr<int64_t>();
  if (value[0] != 0) fail(name, "offsets must start at 0, got " + std::to_string(value[0]));
  for (int64_t i = 1; i < count; ++i) {
    if (value[i] < value[i - 1]) {
      fail(name, "offsets must ascend, got " + std::to_string(value[i]) + " after " +
                     std::to_string(value[i - 1]) + " at " + std::to_string(i));
    }
  }
  if (value[count - 1] != items) {
    fail(name, "offsets must end at the number of items, " + std::to_string(items) + ", got " +
                   std::to_string(value[count - 1]));
  }
  return count - 1;
}

// The tensors as dense arrays of checked shape, kept alive for as long as the engine reads them.
template <class S>
class ListwiseArguments {
 public:
  using T = typename Stored<S>::Accumulated;

  ListwiseInput<S, T> input{};

  ListwiseArguments(const std::string& name, const ListwiseTensors& t)
      : name_(name), shape_(t.scores.sizes().vec()) {
    const auto dims = static_cast<int64_t>(shape_.size());
    if (dims != 1 && (dims != 2 || t.offsets)) {
      fail(name, "scores must have shape (b, l) or (l,), or (t,) with offsets, got " +
                     show(t.scores.sizes()));
    }
    if (t.where && t.offsets) fail(name, "where and offsets exclude each other");
    input.score = stored_data<S>(hold(guarded(name, "scores", t.scores, Stored<S>::dtype, shape_)));
    input.label = accumulated("labels", t.labels, shape_);
    if (t.where) {
      input.where = stored_data<bool>(hold(guarded(name, "where", *t.where, at::kBool, shape_)));
    }
    if (t.weights) input.weight = accumulated("weights", *t.weights, shape_);
    input.lists = dims == 2 ? shape_[0] : 1;
    input.length = shape_.back();
    if (t.offsets) {
      const at::Tensor& offsets =
          hold(guarded(name, "offsets", *t.offsets, at::kLong, t.offsets->sizes()));
      input.lists = checked_offsets(name, offsets, shape_[0]);
      input.offsets = stored_data<int64_t>(offsets);
    }
    if (t.list_weights) {
      input.list_weight = accumulated("list_weights", *t.list_weights, {input.lists});
      for (int64_t i = 0; i < input.lists; ++i) {
        if (input.list_weight[i] < T(0)) fail_at("list_weights", input.list_weight[i], i, "");
      }
    }
  }

  [[noreturn]] void fail_at(const std::string& argument, T value, int64_t flat,
                            const std::string& hint) const {
    const bool matrix = shape_.size() == 2 && argument != "list_weights";
    const std::string place = matrix ? "(" + std::to_string(flat / shape_[1]) + ", " +
                                           std::to_string(flat % shape_[1]) + ")"
                                     : std::to_string(flat);
    fail(name_,
         argument + " must not be negative, got " + std::to_string(value) + " at " + place + hint);
  }

 private:
  const at::Tensor& hold(at::Tensor tensor) {
    keep_.push_back(std::move(tensor));
    return keep_.back();
  }

  const T* accumulated(const char* argument, const at::Tensor& tensor, at::IntArrayRef shape) {
    const at::Tensor wide = tensor.to(Stored<T>::dtype);
    return stored_data<T>(hold(guarded(name_, argument, wide, Stored<T>::dtype, shape)));
  }

  std::string name_;
  std::vector<int64_t> shape_;
  std::vector<at::Tensor> keep_;
};

}  // namespace fastloss
