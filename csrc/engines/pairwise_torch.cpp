// What the pairwise losses need beside their kernels (see pairwise_torch.h).
#include "engines/pairwise_torch.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/pairwise_arguments.h"

namespace fastloss {

at::Tensor pairwise_negatives_gradient(const at::Tensor& query, const at::Tensor& negatives,
                                       const at::Tensor& own, const at::Tensor& scale) {
  if constexpr (kCuda) {
    if (on_device(query)) return device::pairwise_negatives_gradient(query, negatives, own, scale);
  }
  const auto dtype = query.scalar_type();
  const int64_t n = query.size(0), d = query.size(1), h = negatives.size(1);
  const std::string name = "negatives_gradient";
  const at::Tensor result = at::empty({n, h, d}, query.options());
  with_stored_type(dtype, [&](auto stored) {
    using S = decltype(stored);
    using T = typename Stored<S>::Accumulated;
    const at::Tensor q = guarded(name, "query", query, Stored<S>::dtype, {n, d});
    const at::Tensor k = guarded(name, "negatives", negatives, Stored<S>::dtype, {n, h, d});
    const at::Tensor c = guarded(name, "own", own, Stored<T>::dtype, {n, h, 2});
    const T factor = scale.item<T>();
    const S* const queries = stored_data<S>(q);
    const S* const keys = stored_data<S>(k);
    const T* const coefficients = stored_data<T>(c);
    S* const out = static_cast<S*>(result.mutable_data_ptr());
    host::for_each_task((n + 63) / 64, [=](int64_t task, int64_t) {
      simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
        for (int64_t row = task * 64 * h; row < std::min(n, (task + 1) * 64) * h; ++row) {
          const T a = factor * coefficients[2 * row], r = coefficients[2 * row + 1];
          const S* __restrict x = queries + row / h * d;
          const S* __restrict y = keys + row * d;
          S* __restrict gradient = out + row * d;
#pragma omp simd
          for (int64_t j = 0; j < d; ++j) {
            gradient[j] = round_to<S>(a * (static_cast<T>(x[j]) - r * static_cast<T>(y[j])));
          }
        }
      });
    });
    return 0;
  });
  return result;
}

at::Tensor scaled_gradient(const at::Tensor& gradient, const at::Tensor& scale,
                           at::ScalarType dtype) {
  if constexpr (kCuda) {
    if (on_device(gradient)) return device::scaled_gradient(gradient, scale, dtype);
  }
  const std::string name = "scaled_gradient";
  if (dtype != at::kBFloat16 && dtype != at::kHalf) fail(name, "dtype must be a 16-bit one");
  const at::Tensor in = guarded(name, "gradient", gradient, at::kFloat, gradient.sizes());
  const at::Tensor result = at::empty(gradient.sizes(), gradient.options().dtype(dtype));
  const auto factor = scale.item<float>();
  with_stored_type(dtype, [&](auto stored) {
    using S = decltype(stored);
    if constexpr (sizeof(S) == 2) {
      const float* const from = stored_data<float>(in);
      S* const to = static_cast<S*>(result.mutable_data_ptr());
      constexpr int64_t kBlock = 1 << 15;
      const int64_t count = in.numel();
      host::for_each_task((count + kBlock - 1) / kBlock, [=](int64_t task, int64_t) {
        simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
          const float* __restrict x = from;
          S* __restrict y = to;
#pragma omp simd
          for (int64_t i = task * kBlock; i < std::min(count, (task + 1) * kBlock); ++i) {
            y[i] = S::round(factor * x[i]);
          }
        });
      });
    }
    return 0;
  });
  return result;
}

}  // namespace fastloss
