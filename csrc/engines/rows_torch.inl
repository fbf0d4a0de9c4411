// Losses of rows on tensors: one call of one, with checked arguments (see pointwise_torch.h).
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "engines/pointwise_arguments.h"
#include "engines/pointwise_torch.h"

namespace fastloss {

// Checked arguments and the layout of the rows.
template <class T>
class RowCall {
 public:
  RowsInput<T> input{};
  std::vector<int64_t> row_shape;  // of the losses

  RowCall(const std::string& name, const at::Tensor& logits, const at::Tensor& target,
          std::optional<int64_t> ignored)
      : name_(name), logits_(dense(name, "input", logits)) {
    const int64_t dims = logits.dim();
    if (dims == 0) fail(name, "input must have at least 1 dimension");
    const int64_t class_dim = dims == 1 ? 0 : 1;
    row_shape = logits.sizes().vec();
    row_shape.erase(row_shape.begin() + class_dim);
    input.classes = logits.size(class_dim);
    input.outer = dims == 1 ? 1 : logits.size(0);
    input.inner = 1;
    for (int64_t i = 2; i < dims; ++i) input.inner *= logits.size(i);
    input.input = source<T>(logits_);
    if (target.is_floating_point()) {
      if (target.sizes() != logits.sizes()) {
        fail(name,
             "target must have shape " + show(logits.sizes()) + ", got " + show(target.sizes()));
      }
      target_ = dense(name, "target", target);
      input.target = source<T>(target_);
    } else {
      target_ = guarded(name, "target", target, at::kLong, row_shape);
      input.target_class = target_.template const_data_ptr<int64_t>();
      input.ignores = ignored.has_value();
      input.ignored = ignored.value_or(0);
      check_classes();
    }
  }

  // Class weights, (classes), or null.
  const T* class_weights(const std::optional<at::Tensor>& weight) {
    if (!weight) return nullptr;
    weight_ = guarded(name_, "weight", weight->to(accumulated_dtype<T>), accumulated_dtype<T>,
                      {input.classes});
    const T* const values = weight_.template const_data_ptr<T>();
    for (int64_t c = 0; c < input.classes; ++c) {
      if (values[c] < T(0)) {
        fail(name_, "weight must not be negative, got " + std::to_string(values[c]) + " at " +
                        std::to_string(c));
      }
    }
    return values;
  }

  // `weight_of(row)` is a row's share in the divisor of a mean.
  template <class Loss, class WeightOf>
  PointwiseResult forward(const Loss& loss, const char* target_rule, bool mean, bool none,
                          const WeightOf& weight_of) const {
    using Row = typename Loss::Row;
    const int64_t n = input.rows();
    const at::Tensor saved = at::empty({Row::kFields, n}, accumulated_dtype<T>);
    T* const rows = saved.template mutable_data_ptr<T>();
    const bool inside = RowsCpu<Loss, T>(input, loss).forward(rows);
    if constexpr (!Loss::kTargetIsClass) {
      if (!inside) {
        check_values(name_, "target", target_rule, input.target, n * input.classes,
                     [&](T t) { return loss.takes_target(t); });
      }
    }
    if (none) {
      const at::Tensor each = at::empty(row_shape, accumulated_dtype<T>);
      std::copy_n(rows, n, each.template mutable_data_ptr<T>());  // Row's first number
      return {each, saved};
    }
    const double total =
        sum_of_rows([=](int64_t i) FASTLOSS_SIMD_LOOP { return static_cast<double>(rows[i]); });
    const at::Tensor sum = at::empty({}, accumulated_dtype<T>);
    const double divisor = mean ? divisor_of<Row>(rows, weight_of) : 1;
    *sum.template mutable_data_ptr<T>() = divisor == 0 ? T(0) : static_cast<T>(total / divisor);
    return {sum, saved};
  }

  template <class Loss, class WeightOf>
  at::Tensor backward(const at::Tensor& grad_loss, const at::Tensor& saved, const Loss& loss,
                      bool mean, bool none, const WeightOf& weight_of) const {
    using Row = typename Loss::Row;
    const at::Tensor kept =
        guarded(name_, "saved", saved, accumulated_dtype<T>, {Row::kFields, input.rows()});
    const T* const rows = kept.template const_data_ptr<T>();
    const double divisor = mean ? divisor_of<Row>(rows, weight_of) : 1;
    const T overall = divisor == 0 ? T(0) : static_cast<T>(1 / divisor);
    at::Tensor keep;
    const auto upstream = upstream_of<T>(name_, grad_loss, none, row_shape, overall, keep);
    const at::Tensor gradient = empty_like(logits_);
    RowsCpu<Loss, T>(input, loss).backward(rows, upstream, sink<T>(gradient));
    return gradient;
  }

 private:
  // Σ term(row), task by task.
  template <class Term>
  double sum_of_rows(const Term& term) const {
    constexpr int64_t kTask = 1 << 14;
    const int64_t n = input.rows(), tasks = (n + kTask - 1) / kTask;
    const host::Buffer<double> sums(tasks);
    host::for_each_task(tasks, [&](int64_t task, int64_t) {
      simd::dispatch([&, task]() FASTLOSS_SIMD_LOOP {
        const int64_t last = std::min(n, (task + 1) * kTask);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = task * kTask; i < last; ++i) sum += term(i);
        sums[task] = sum;
      });
    });
    return std::accumulate(sums.data(), sums.data() + tasks, 0.0);
  }

  template <class Row, class WeightOf>
  double divisor_of(const T* rows, const WeightOf& weight_of) const {
    const int64_t n = input.rows();
    return sum_of_rows([=, &weight_of](int64_t i) FASTLOSS_SIMD_LOOP {
      return Row::load(rows + i, n).counts() ? static_cast<double>(weight_of(i)) : 0.0;
    });
  }

  void check_classes() const {
    const auto allowed = [in = input](int64_t value) FASTLOSS_SIMD_LOOP {
      return ((value >= 0) & (value < in.classes)) | (in.ignores & (value == in.ignored));
    };
    const int64_t* const target = input.target_class;
    const auto outside = [=](int64_t i)
                             FASTLOSS_SIMD_LOOP { return allowed(target[i]) ? 0.0 : 1.0; };
    if (sum_of_rows(outside) == 0) return;
    for (int64_t i = 0; i < input.rows(); ++i) {
      if (allowed(target[i])) continue;
      fail(name_, "target must be in [0, " + std::to_string(input.classes) + ")" +
                      (input.ignores ? " or ignore_index, " + std::to_string(input.ignored)
                                     : std::string()) +
                      ", got " + std::to_string(target[i]) + " at " + std::to_string(i));
    }
  }

  std::string name_;
  at::Tensor logits_, target_, weight_;
};

constexpr const char* kProbabilities = "must be probabilities in [0, 1]";

}  // namespace fastloss
