// What the listwise losses need beside their kernels (see listwise_torch.h).
#include "engines/listwise_torch.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/listwise_arguments.h"

namespace fastloss {

namespace {

// Items [begin, end) times a factor.
template <class S, class T>
void scale_span(const T* from, S* to, int64_t begin, int64_t end, T factor) {
  simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
    const T* __restrict x = from;
    S* __restrict y = to;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = round_to<S>(factor * x[i]);
  });
}

template <class S, class T>
void scale_lists(const at::Tensor& gradient, const at::Tensor& factors, const int64_t* offsets,
                 int64_t lists, S* to) {
  const T* const from = stored_data<T>(gradient);
  const T* const factor = stored_data<T>(factors);
  const int64_t items = gradient.numel();
  constexpr int64_t kBlock = 1 << 15;
  host::for_each_task((items + kBlock - 1) / kBlock, [=](int64_t task, int64_t) {
    const int64_t first = task * kBlock, last = std::min(items, first + kBlock);
    if (lists == 1) return scale_span<S, T>(from, to, first, last, *factor);
    const int64_t length = items / lists;
    int64_t list =
        offsets ? std::upper_bound(offsets, offsets + lists, first) - offsets - 1 : first / length;
    for (int64_t begin = first; begin < last; ++list) {
      const int64_t end = std::min(last, offsets ? offsets[list + 1] : (list + 1) * length);
      if (end > begin) scale_span<S, T>(from, to, begin, end, factor[list]);
      begin = std::max(begin, end);
    }
  });
}

}  // namespace

at::Tensor listwise_backward(const at::Tensor& grad_loss, const at::Tensor& gradient,
                             const std::optional<at::Tensor>& offsets, at::ScalarType dtype) {
  const std::string name = "listwise_backward";
  const bool wide = gradient.scalar_type() == at::kDouble;
  if (wide ? dtype != at::kDouble
           : dtype != at::kFloat && dtype != at::kBFloat16 && dtype != at::kHalf) {
    fail(name, std::string("dtype must be one that accumulates in the gradient's, got ") +
                   c10::toString(dtype));
  }
  const at::ScalarType accumulated = wide ? at::kDouble : at::kFloat;
  if (gradient.dim() < 1) fail(name, "gradient must have at least 1 dimension");
  const at::Tensor in = guarded(name, "gradient", gradient, accumulated, gradient.sizes());
  const at::Tensor result = at::empty(in.sizes(), in.options().dtype(dtype));
  // One number for all, or one a list.
  int64_t lists = 1;
  at::Tensor ends;
  if (grad_loss.dim() > 0) {
    lists = in.dim() == 2 ? in.size(0) : 1;
    if (offsets) {
      ends = guarded(name, "offsets", *offsets, at::kLong, offsets->sizes());
      lists = checked_offsets(name, ends, in.numel());
    }
  }
  const at::Tensor factors =
      grad_loss.dim() > 0
          ? guarded(name, "grad_loss", grad_loss.to(accumulated), accumulated, {lists})
          : guarded(name, "grad_loss", grad_loss.to(accumulated), accumulated, {});
  if (in.numel() == 0) return result;
  const int64_t* const boundaries = ends.defined() ? stored_data<int64_t>(ends) : nullptr;
  with_stored_type(dtype, [&](auto stored) {
    using S = decltype(stored);
    scale_lists<S, typename Stored<S>::Accumulated>(in, factors, boundaries, lists,
                                                    static_cast<S*>(result.mutable_data_ptr()));
    return 0;
  });
  return result;
}

}  // namespace fastloss
