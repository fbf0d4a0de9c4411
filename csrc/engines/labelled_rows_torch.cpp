// Engine and functors meet here (see labelled_rows_torch.h).
#include "engines/labelled_rows_torch.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "engines/labelled_rows_cpu.h"
#include "engines/pairwise_arguments.h"
#include "losses/registry.h"
#include "losses/triplet_statistics.h"

namespace fastloss {

namespace {

// The tensors as dense arrays of checked shape, and the candidates by label.
template <class S>
class LabelledArguments {
 public:
  LabelledInput<S> input{};

  LabelledArguments(const std::string& name, const LabelledTensors& t) {
    if (t.embeddings.dim() != 2) fail(name, "embeddings must have 2 dimensions");
    if (t.ref_embeddings.has_value() != t.ref_labels.has_value()) {
      fail(name, "ref_embeddings and ref_labels must be given together");
    }
    input.itself = !t.ref_embeddings;
    const at::Tensor& others = input.itself ? t.embeddings : *t.ref_embeddings;
    if (others.dim() != 2) fail(name, "ref_embeddings must have 2 dimensions");
    const int64_t n = input.n = t.embeddings.size(0), m = input.m = others.size(0);
    const int64_t d = input.d = t.embeddings.size(1);
    if (d == 0) fail(name, "embeddings must have at least one feature");
    input.anchors =
        stored_data<S>(hold(guarded(name, "embeddings", t.embeddings, Stored<S>::dtype, {n, d})));
    const at::Tensor& labels = hold(guarded(name, "labels", t.labels, at::kLong, {n}));
    const int64_t* const of_anchors = stored_data<int64_t>(labels);
    const int64_t* of_candidates = of_anchors;
    input.candidates = input.anchors;
    if (!input.itself) {
      input.candidates =
          stored_data<S>(hold(guarded(name, "ref_embeddings", others, Stored<S>::dtype, {m, d})));
      of_candidates =
          stored_data<int64_t>(hold(guarded(name, "ref_labels", *t.ref_labels, at::kLong, {m})));
    }
    by_label(of_anchors, of_candidates);
    input.similarity = similarity_of(name, t.similarity);
    input.workspace = t.workspace;
  }

 private:
  at::Tensor hold(at::Tensor tensor) {
    keep_.push_back(tensor);
    return tensor;
  }

  // The sort is stable, so that the candidates of a label ascend.
  void by_label(const int64_t* of_anchors, const int64_t* of_candidates) {
    const int64_t n = input.n, m = input.m;
    const at::Tensor labels = at::empty({m}, at::kLong);
    std::copy_n(of_candidates, m, labels.data_ptr<int64_t>());
    const auto [sorted, order] = at::sort(labels, true, 0, false);
    const int64_t* const first = sorted.const_data_ptr<int64_t>();
    int64_t* const begin = hold(at::empty({n}, at::kLong)).template data_ptr<int64_t>();
    int64_t* const end = hold(at::empty({n}, at::kLong)).template data_ptr<int64_t>();
    for (int64_t i = 0; i < n; ++i) {
      const auto [low, high] = std::equal_range(first, first + m, of_anchors[i]);
      begin[i] = low - first;
      end[i] = high - first;
      input.most = std::max(input.most, end[i] - begin[i]);
    }
    input.same = {hold(order).template const_data_ptr<int64_t>(), begin, end};
  }

  std::vector<at::Tensor> keep_;
};

// The gradients of one call as tensors; both of one set become one.
template <class T>
class LabelledGradients {
 public:
  template <class S>
  LabelledGradients(const LabelledInput<S>& in, const std::vector<bool>& wanted)
      : itself_(in.itself), size_(in.n * in.d) {
    const auto make = [&](bool wants, int64_t rows) {
      // Without anchors the engine touches nothing.
      if (!wants) return at::empty({0}, Stored<T>::dtype);
      return in.n == 0 ? at::zeros({rows, in.d}, Stored<T>::dtype)
                       : at::empty({rows, in.d}, Stored<T>::dtype);
    };
    query_ = make(wanted[0], in.n);
    key_ = make(itself_ ? wanted[0] : wanted[1], in.m);
    if (wanted[0]) pointers_.query = query_.template data_ptr<T>();
    if (itself_ ? wanted[0] : wanted[1]) pointers_.key = key_.template data_ptr<T>();
  }

  const PairwiseGradients<T>& pointers() const { return pointers_; }

  void append_to(std::vector<at::Tensor>& out) {
    if (itself_ && pointers_.query != nullptr) {
      T* const sum = pointers_.query;
      const T* const other = pointers_.key;
      constexpr int64_t kBlock = 1 << 15;
      host::for_each_task((size_ + kBlock - 1) / kBlock, [&](int64_t task, int64_t) {
        const int64_t end = std::min(size_, (task + 1) * kBlock);
        for (int64_t i = task * kBlock; i < end; ++i) sum[i] += other[i];
      });
    }
    out.push_back(query_);
    out.push_back(itself_ ? at::empty({0}, Stored<T>::dtype) : key_);
  }

 private:
  bool itself_;
  int64_t size_;
  at::Tensor query_, key_;
  PairwiseGradients<T> pointers_;
};

void check_wanted(const std::string& name, const LabelledTensors& tensors,
                  const std::vector<bool>& wanted) {
  if (wanted.size() != 2) fail(name, "wanted must have 2 entries");
  if (wanted[1] && !tensors.ref_embeddings) {
    fail(name, "ref_embeddings must be given for their gradient");
  }
}

template <template <class> class Loss, class S>
std::vector<at::Tensor> forward_as(const std::string& name, const LabelledTensors& tensors,
                                   const std::vector<double>& options, const std::string& reduction,
                                   const std::vector<bool>& wanted) {
  using T = typename Stored<S>::Accumulated;
  const LabelledArguments<S> arguments(name, tensors);
  const LabelledInput<S>& in = arguments.input;
  LabelledGradients<T> gradients(in, wanted);
  const host::Buffer<ListTotal> rows(in.n);
  const auto divisor = [&] {
    double count = 0;
    for (int64_t i = 0; i < in.n; ++i) count += rows[i].count;
    return reduction == "mean" && count > 0 ? count : 1.0;  // nothing to average: the sum is 0
  };
  LabelledRows<S, T>(in).run(
      Loss<T>::make(options.data()), rows.data(), [](int64_t) { return T(1); },
      [&] { return static_cast<T>(1 / divisor()); }, gradients.pointers());

  const bool none = reduction == "none";
  const at::Tensor loss =
      none ? at::empty({in.n}, Stored<T>::dtype) : at::empty({}, Stored<T>::dtype);
  T* const out = loss.template data_ptr<T>();
  double total = 0;
  for (int64_t i = 0; i < in.n; ++i) {
    if (none) out[i] = static_cast<T>(rows[i].value);
    total += rows[i].value;
  }
  if (!none) *out = static_cast<T>(total / divisor());
  std::vector<at::Tensor> result{loss};
  gradients.append_to(result);
  return result;
}

template <template <class> class Loss, class S>
std::vector<at::Tensor> backward_as(const std::string& name, const LabelledTensors& tensors,
                                    const std::vector<double>& options, const at::Tensor& grad_loss,
                                    const std::vector<bool>& wanted) {
  using T = typename Stored<S>::Accumulated;
  const LabelledArguments<S> arguments(name, tensors);
  const LabelledInput<S>& in = arguments.input;
  LabelledGradients<T> gradients(in, wanted);
  const host::Buffer<ListTotal> rows(in.n);
  const at::Tensor upstream = guarded(name, "grad_loss", grad_loss, Stored<T>::dtype, {in.n});
  const T* const factor = stored_data<T>(upstream);
  LabelledRows<S, T>(in).run(
      Loss<T>::make(options.data()), rows.data(), [=](int64_t i) { return factor[i]; },
      [] { return T(1); }, gradients.pointers());
  std::vector<at::Tensor> result;
  gradients.append_to(result);
  return result;
}

template <class S>
std::vector<at::Tensor> statistics_as(const std::string& name, const LabelledTensors& tensors,
                                      double margin) {
  using T = typename Stored<S>::Accumulated;
  using Row = typename TripletStatistics<T>::Row;
  const LabelledArguments<S> arguments(name, tensors);
  const LabelledInput<S>& in = arguments.input;
  const host::Buffer<Row> rows(in.n);
  LabelledRows<S, T>(in).run(
      TripletStatistics<T>{margin}, rows.data(), [](int64_t) { return T(1); }, [] { return T(1); },
      {});
  Row all;
  for (int64_t i = 0; i < in.n; ++i) all.add(rows[i]);
  const at::Tensor counts = at::empty({4}, at::kLong), means = at::empty({2}, Stored<T>::dtype);
  int64_t* const count = counts.data_ptr<int64_t>();
  count[0] = all.active, count[1] = all.valid, count[2] = all.hard, count[3] = all.semi_hard;
  const double offset = in.similarity == Similarity::kCosine ? 1 : 0;
  const auto mean = [&](double sum, int64_t pairs) {
    return static_cast<T>(pairs > 0 ? sum / static_cast<double>(pairs) + offset : 0.0);
  };
  T* const out = means.template data_ptr<T>();
  out[0] = mean(all.positive_sum, all.positives);
  out[1] = mean(all.negative_sum, all.negatives);
  return {counts, means};
}

}  // namespace

template <template <class> class Loss>
std::vector<at::Tensor> labelled_forward(const std::string& name, const LabelledTensors& tensors,
                                         const std::vector<double>& options,
                                         const std::string& reduction,
                                         const std::vector<bool>& wanted) {
  check_wanted(name, tensors, wanted);
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    return forward_as<Loss, decltype(stored)>(name, tensors, options, reduction, wanted);
  });
}

template <template <class> class Loss>
std::vector<at::Tensor> labelled_backward(const std::string& name, const LabelledTensors& tensors,
                                          const std::vector<double>& options,
                                          const at::Tensor& grad_loss,
                                          const std::vector<bool>& wanted) {
  check_wanted(name, tensors, wanted);
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    return backward_as<Loss, decltype(stored)>(name, tensors, options, grad_loss, wanted);
  });
}

std::vector<at::Tensor> triplet_statistics(const LabelledTensors& tensors, double margin) {
  return with_stored_type(tensors.embeddings.scalar_type(), [&](auto stored) {
    return statistics_as<decltype(stored)>("triplet_statistics", tensors, margin);
  });
}

#define FASTLOSS_INSTANTIATE(stem, Functor)                                                       \
  template std::vector<at::Tensor> labelled_forward<Functor>(                                     \
      const std::string&, const LabelledTensors&, const std::vector<double>&, const std::string&, \
      const std::vector<bool>&);                                                                  \
  template std::vector<at::Tensor> labelled_backward<Functor>(                                    \
      const std::string&, const LabelledTensors&, const std::vector<double>&, const at::Tensor&,  \
      const std::vector<bool>&);
FASTLOSS_LABELLED_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
