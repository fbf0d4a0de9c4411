// Pairwise losses on the device against their definition, and what is asked of the engine.
//
// An error is held against the size of what was added up: eps · (16 + 2 · reach) of Σ |terms|,
// reach being how large the numbers are that scores come from, and where coefficients are rounded
// to 16 bits, four times a rounding of √Σ terms².
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/pairwise_run.cuh"
#include "emulator.h"
#include "pairwise_exact.h"
#include "plain_runtime.h"
#include "sanitized.h"

namespace fastloss::test {

// Numbers as they are stored.
template <class S>
S as_stored(double value) {
  if constexpr (sizeof(S) == 2) return S::round(static_cast<float>(value));
  return static_cast<S>(value);
}
template <class S>
std::vector<S> stored_values(std::vector<double>& values) {
  std::vector<S> out;
  for (double& value : values) {
    out.push_back(as_stored<S>(value));
    value = static_cast<double>(out.back());
  }
  return out;
}

// What a run may cost: products of n · m · d multiply-adds, and bytes beside workspace and
// operands.
struct Cost {
  int64_t forward = 1, gradient = 3, backward = 3;
};

// A loss on the device, forward, forward with gradients and backward, against the definition.
template <template <class> class Loss, class S>
class Run {
 public:
  using T = device::AccumulatedOf<S>;
  using Row = typename Loss<T>::Row;
  static constexpr bool kSymmetric = device::kSymmetric<Loss<T>>;

  Run(const std::string& title, Problem problem, const Definition& define,
      const std::vector<double>& options, const Cost& cost, const std::vector<double>& weight = {})
      : title_(title + " of " + std::to_string(sizeof(S)) + " bytes"),
        p_(std::move(problem)),
        define_(define),
        cost_(cost),
        query_(runtime_, stored_values<S>(p_.query)),
        key_(runtime_, stored_values<S>(p_.key)),
        negatives_(runtime_, stored_values<S>(p_.negatives)),
        bias_(runtime_, stored_values<T>(p_.bias)),
        target_(runtime_, p_.target),
        ids_(runtime_, p_.ids),
        factor_(runtime_, halves(p_.factor)),
        counted_(runtime_, stored_values<T>(p_.factor)),
        weight_(runtime_, padded(weight)),
        loss_{Loss<T>::make(options.data(), weight.empty() ? nullptr : weight_.data())} {}

  // `with_numbers`: gradients of bias, scale and shift are wanted besides those of the operands.
  void check(bool with_numbers) {
    const Exact sum = exact(p_, define_, kSymmetric);
    for (const bool mean : {true, false}) {
      const Exact expected = mean ? sum.mean() : sum;
      for (const bool gradient : {false, true}) {
        if (mean || !kSanitized) forward(expected, mean, gradient, with_numbers);
      }
      if (!mean) backward(expected, with_numbers);
    }
  }

 private:
  static std::vector<T> halves(const std::vector<double>& factor) {
    std::vector<T> out;
    for (const double f : factor) out.push_back(static_cast<T>(kSymmetric ? f / 2 : f));
    return out;
  }
  static std::vector<T> padded(const std::vector<double>& weight) {
    std::vector<T> out(weight.begin(), weight.end());
    out.resize(device::padded(static_cast<int64_t>(weight.size())));
    return out;
  }

  device::PairwiseOnDevice<S, T> input() const {
    return {.n = p_.n,
            .m = p_.m,
            .d = p_.d,
            .h = p_.h,
            .query = query_.data(),
            .key = key_.data(),
            .negatives = negatives_.data(),
            .key_bias = p_.bias.empty() ? nullptr : bias_.data(),
            .target = target_.data(),
            .key_ids = p_.ids.empty() ? nullptr : ids_.data(),
            .factor = factor_.data(),
            .counted = counted_.data(),
            .plain_factors = false,
            .similarity = p_.similarity,
            .scale = {static_cast<T>(p_.scale)},
            .scale_divides = false,
            .margin = static_cast<T>(p_.margin),
            .workspace = p_.workspace};
  }

  // Everything a run writes.
  struct Out {
    Out(device::Runtime& runtime, const Problem& p)
        : rows(runtime, 2 * p.n),
          loss(runtime, 1),
          each(runtime, p.n),
          query(runtime, p.n * p.d),
          key(runtime, p.m * p.d),
          bias(runtime, p.m),
          scale(runtime, 1),
          shift(runtime, 1),
          own(runtime, p.n * p.h * 2),
          negatives(runtime, p.n * p.h * p.d) {}
    device::Buffer<Row> rows;
    device::Buffer<T> loss, each, query, key, bias, scale, shift, own, negatives;
  };

  device::PairwiseGradientsOnDevice<T> wanted(const Out& out, bool with_numbers) const {
    device::PairwiseGradientsOnDevice<T> g{.query = out.query.data(), .key = out.key.data()};
    if (p_.h > 0) g.own = out.own.data();
    if (!with_numbers) return g;
    g.scale = out.scale.data();
    if (!p_.bias.empty()) g.key_bias = out.bias.data();
    if constexpr (OnePass<Loss<T>>) g.shift = out.shift.data();
    return g;
  }

  void forward(const Exact& expected, bool mean, bool gradient, bool with_numbers) {
    const Out out(runtime_, p_);
    device::PairwiseResultOnDevice<T> result{.mean = mean, .loss = out.loss.data()};
    if (gradient) result.gradients = wanted(out, with_numbers);
    start();
    device::run_forward<Loss, S, T>(runtime_, input(), loss_, out.rows.data(), result,
                                    out.each.data());
    costs(gradient ? cost_.gradient : cost_.forward);
    numbers("loss", out.loss, {expected.loss}, {std::abs(expected.loss)}, {0}, expected);
    std::vector<double> sizes;
    for (const double value : expected.values) sizes.push_back(1 + std::abs(value));
    numbers("each", out.each, expected.values, sizes, std::vector<double>(p_.n), expected);
    if (gradient) gradients(out, result.gradients, expected);
  }

  void backward(const Exact& expected, bool with_numbers) {
    const Out out(runtime_, p_);
    device::PairwiseResultOnDevice<T> result{};
    device::run_forward<Loss, S, T>(runtime_, input(), loss_, out.rows.data(), result, nullptr);
    result.gradients = wanted(out, with_numbers);
    start();
    device::run_backward<Loss, S, T>(runtime_, input(), loss_, out.rows.data(), result);
    costs(cost_.backward);
    gradients(out, result.gradients, expected);
    if (!with_numbers) return;
    // The numbers alone.
    const Out alone(runtime_, p_);
    result.gradients = wanted(alone, true);
    result.gradients.query = result.gradients.key = result.gradients.own = nullptr;
    device::run_backward<Loss, S, T>(runtime_, input(), loss_, out.rows.data(), result);
    gradients(alone, result.gradients, expected);
  }

  void gradients(const Out& out, const device::PairwiseGradientsOnDevice<T>& g,
                 const Exact& expected) {
    if (g.query) sizes("query", out.query, expected.query, expected, true);
    if (g.key) sizes("key", out.key, expected.key, expected, true);
    if (g.key_bias) sizes("bias", out.bias, expected.bias, expected, false);
    if (g.scale) sizes("scale", out.scale, expected.scale, expected, false);
    // A shift belongs to losses whose scores are not normalised by each other.
    if (g.shift && !device_target_first()) {
      sizes("shift", out.shift, expected.shift, expected, false);
    }
    if (!g.own) return;
    const device::Buffer<S> made(runtime_, p_.n * p_.h * p_.d);
    const emulator::Uploaded<T> one(runtime_, {T(1)});
    device::negatives_gradient<S, T>(runtime_, p_.n, p_.h, p_.d, query_.data(), negatives_.data(),
                                     out.own.data(), one.data(), made.data());
    {
      const emulator::DeviceAccess access;
      for (int64_t i = 0; i < made.size(); ++i) {
        out.negatives.data()[i] = static_cast<T>(made.data()[i]);
      }
    }
    sizes("negatives", out.negatives, expected.negatives, expected, true);
  }
  static constexpr bool device_target_first() { return TargetFirst<Loss<T>>; }

  void start() {
    runtime_.restart_peak();
    live_ = runtime_.bytes_live();
    adds_ = runtime_.multiply_adds();
  }
  void costs(int64_t products) {
    const int64_t one = p_.n * p_.m * p_.d;
    const int64_t adds = runtime_.multiply_adds() - adds_;
    if (adds != products * one) {
      std::fprintf(stderr, "%s: %lld multiply-adds, expected %lld products of %lld\n",
                   title_.c_str(), static_cast<long long>(adds), static_cast<long long>(products),
                   static_cast<long long>(one));
      ++failures;
    }
    // Beside the workspace: copies of the operands and numbers of rows and columns.
    const int64_t copies = (p_.n + p_.m) * (p_.d + 8) * static_cast<int64_t>(sizeof(T));
    const int64_t beside =
        copies + 250 * (p_.n + p_.m) + 16 * p_.n * p_.h + 64 * 1024 + 8 * 64 * p_.d;
    CHECK(runtime_.bytes_peak() - live_ <= std::max<int64_t>(p_.workspace, 1 << 17) + beside);
  }

  void sizes(const char* what, const device::Buffer<T>& got, const Sizes& expected,
             const Exact& all, bool of_products) {
    std::vector<double> more(expected.value.size());
    constexpr bool kHalf = std::is_same_v<S, Float16>;
    for (size_t i = 0; of_products && sizeof(S) == 2 && i < more.size(); ++i) {
      // A rounding of each coefficient, and of a gradient that is returned as it is stored.
      more[i] = kHalf ? 4 * 0x1p-12 * expected.spread[i] + 0x1p-11 * std::abs(expected.value[i])
                      : 4 * 0x1p-9 * expected.spread[i] + 0x1p-8 * std::abs(expected.value[i]);
      // Coefficients times 2^14, and gradients, below the smallest float16.
      if (kHalf) more[i] += what == std::string("negatives") ? 0x1p-25 : 0x1p-30;
    }
    numbers(what, got, expected.value, expected.size, more, all);
  }
  void numbers(const char* what, const device::Buffer<T>& got, const std::vector<double>& expected,
               const std::vector<double>& size, const std::vector<double>& more, const Exact& all) {
    const double eps = (sizeof(T) == 8 ? 0x1p-52 : 0x1p-23) * (16 + 2 * all.reach);
    const std::vector<T> values =
        emulator::download(got.data(), static_cast<int64_t>(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i) {
      const double value = static_cast<double>(values[i]);
      if (std::isnan(value) && std::isnan(expected[i])) continue;
      if (value == expected[i]) continue;
      const double allowance = eps * size[i] + more[i] + 1e-36;
      if (std::abs(value - expected[i]) <= allowance) continue;
      ++failures;
      std::fprintf(stderr, "%s: %s[%zu] is %.9g, expected %.9g within %.3g\n", title_.c_str(), what,
                   i, value, expected[i], allowance);
      return;
    }
  }

  std::string title_;
  Problem p_;
  Definition define_;
  Cost cost_;
  emulator::PlainRuntime runtime_;
  emulator::Uploaded<S> query_, key_, negatives_;
  emulator::Uploaded<T> bias_;
  emulator::Uploaded<int64_t> target_, ids_;
  emulator::Uploaded<T> factor_, counted_, weight_;
  device::DeviceLoss<Loss<T>> loss_;
  int64_t live_ = 0, adds_ = 0;
};

inline const char* name_of(Similarity similarity) {
  return similarity == Similarity::kDot         ? "dot"
         : similarity == Similarity::kCosine    ? "cosine"
         : similarity == Similarity::kEuclidean ? "euclidean"
                                                : "sqeuclidean";
}

constexpr Similarity kSimilarities[] = {Similarity::kDot, Similarity::kCosine,
                                        Similarity::kEuclidean, Similarity::kSquaredEuclidean};

// Runs a program's checks; what a kernel did wrong is an error of it.
template <class Checks>
int report_of(const Checks& checks) {
  try {
    checks();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
  return report();
}

}  // namespace fastloss::test
