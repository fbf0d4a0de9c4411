// The engines with scores of the tensor-core kernels against the same engines with the library's:
// rows, losses and gradients, and how many library products are left.
#include <algorithm>

#include "cuda/pairwise_run.cuh"
#include "cuda/self.cuh"
#include "losses/registry.h"
#include "mma_cases.h"

namespace {

using namespace fastloss;
using namespace fastloss::mma_test;
using emulator::PlainRuntime;
using emulator::Uploaded;

struct Case {
  int64_t n, m, d;
  Similarity similarity = Similarity::kDot;
  double scale = 1;
  bool bias = false, groups = false;
  int64_t workspace = int64_t{1} << 22;
  // Library products of forward, forward with gradients and backward.
  int64_t forward = 0, gradient = 2, backward = 2;
};

// What an engine makes of a problem, number after number.
struct Result {
  std::vector<std::vector<float>> numbers;
  std::vector<int64_t> products;

  void add(const device::Buffer<float>& buffer) { numbers.push_back(emulator::download(buffer)); }
};

template <class S>
std::vector<S> dense(const Side<S>& side) {
  std::vector<S> out;
  for (int64_t i = 0; i < side.count; ++i) {
    for (int64_t c = 0; c < side.d; ++c) out.push_back(side.values[i * side.stride + c]);
  }
  return out;
}

// Float rows hold tf32 values, which both engines multiply alike.
template <class S>
Side<S> rows_of(int64_t count, int64_t d, Random& random) {
  return random_side<S>(count, d, 0, Similarity::kEuclidean, random);
}

void compare(const std::string& name, const Result& got, const Result& wanted, double allowed) {
  for (size_t what = 0; what < wanted.numbers.size(); ++what) {
    const auto& g = got.numbers[what];
    const auto& w = wanted.numbers[what];
    double size = 0;
    for (const float value : w) {
      if (std::isfinite(value)) size = std::max(size, std::abs(static_cast<double>(value)));
    }
    for (size_t i = 0; i < w.size(); ++i) {
      if (!close(g[i], w[i], allowed * size + 1e-7)) {
        fail(name + ": result " + std::to_string(what) + " number " + std::to_string(i) + " is " +
             std::to_string(g[i]) + ", not " + std::to_string(w[i]));
        break;
      }
    }
  }
}
void expect_products(const std::string& name, const Result& got, const Case& c, int64_t one) {
  const int64_t expected[] = {c.forward, c.gradient, c.backward};
  for (size_t i = 0; i < got.products.size(); ++i) {
    if (got.products[i] != expected[i] * one) {
      fail(name + ": pass " + std::to_string(i) + " takes " + std::to_string(got.products[i]) +
           " multiply-adds of the library, not " + std::to_string(expected[i]) + " x " +
           std::to_string(one));
    }
  }
}

template <template <class> class Loss, class S>
void pairwise(const char* loss_name, const Case& c, const std::vector<double>& options) {
  using Row = typename Loss<float>::Row;
  const std::string name = std::string(loss_name) + " of " + std::to_string(sizeof(S)) + " bytes " +
                           std::to_string(c.n) + " x " + std::to_string(c.m) + " x " +
                           std::to_string(c.d) + " similarity " +
                           std::to_string(static_cast<int>(c.similarity));
  Random random(c.n + 31 * c.m);
  const Side<S> query = rows_of<S>(c.n, c.d, random), key = rows_of<S>(c.m, c.d, random);
  constexpr bool kBoth = device::kSymmetric<Loss<float>>;
  std::vector<int64_t> target, ids;
  std::vector<float> factor, bias;
  for (int64_t i = 0; i < c.n; ++i) {
    const bool diagonal = kBoth || TargetFirst<Loss<float>>;
    target.push_back(diagonal ? i : static_cast<int64_t>(random() % c.m));
    factor.push_back(static_cast<float>(random() % 8) / 16 + 0.5f);
  }
  for (int64_t j = 0; j < c.m; ++j) {
    ids.push_back(static_cast<int64_t>(random() % (c.m / 3 + 1)));
    bias.push_back(static_cast<float>(random() % 16) / 8);
  }
  const auto run = [&](bool tiles) {
    PlainRuntime runtime;
    const Uploaded<S> q(runtime, dense(query)), k(runtime, dense(key));
    const Uploaded<int64_t> targets(runtime, target), groups(runtime, ids);
    const Uploaded<float> factors(runtime, factor), biases(runtime, bias);
    const device::PairwiseOnDevice<S, float> input{.n = c.n,
                                                   .m = c.m,
                                                   .d = c.d,
                                                   .h = 0,
                                                   .query = q.data(),
                                                   .key = k.data(),
                                                   .negatives = nullptr,
                                                   .key_bias = c.bias ? biases.data() : nullptr,
                                                   .target = targets.data(),
                                                   .key_ids = c.groups ? groups.data() : nullptr,
                                                   .factor = factors.data(),
                                                   .counted = factors.data(),
                                                   .plain_factors = true,
                                                   .similarity = c.similarity,
                                                   .scale = {static_cast<float>(c.scale)},
                                                   .scale_divides = false,
                                                   .margin = 0,
                                                   .workspace = c.workspace,
                                                   .tiles = tiles};
    const device::DeviceLoss<Loss<float>> loss{Loss<float>::make(options.data(), nullptr)};
    const device::Buffer<Row> rows(runtime, 2 * c.n);
    const device::Buffer<float> one(runtime, 1), each(runtime, c.n), dq(runtime, c.n * c.d);
    const device::Buffer<float> dk(runtime, c.m * c.d), dscale(runtime, 1), dbias(runtime, c.m);
    device::PairwiseResultOnDevice<float> result{.mean = true, .loss = one.data()};
    device::PairwiseGradientsOnDevice<float> wanted{
        .query = dq.data(), .key = dk.data(), .scale = dscale.data()};
    if (c.bias) wanted.key_bias = dbias.data();
    Result out;
    const auto pass = [&](const auto& work) {
      const int64_t before = runtime.multiply_adds();
      work();
      out.products.push_back(runtime.multiply_adds() - before);
    };
    const auto gradients = [&] {
      out.add(dq);
      out.add(dk);
      out.add(dscale);
      if (c.bias) out.add(dbias);
    };
    pass([&] {
      device::run_forward<Loss, S, float>(runtime, input, loss, rows.data(), result, each.data());
    });
    out.add(one);
    out.add(each);
    result.gradients = wanted;
    const device::Buffer<Row> again(runtime, 2 * c.n);
    pass([&] {
      device::run_forward<Loss, S, float>(runtime, input, loss, again.data(), result, nullptr);
    });
    out.add(one);
    gradients();
    pass([&] { device::run_backward<Loss, S, float>(runtime, input, loss, rows.data(), result); });
    gradients();
    return out;
  };
  const Result tiles = run(true);
  // A coefficient may be rounded the other way, in a few of many terms.
  compare(name, tiles, run(false), sizeof(S) == 2 && !is_distance(c.similarity) ? 2e-3 : 2e-5);
  expect_products(name, tiles, c, c.n * c.m * c.d);
}

template <template <class> class Loss, class S>
void self(const char* loss_name, const Case& c) {
  using Row = typename Loss<float>::Row;
  const std::string name = std::string(loss_name) + " of " + std::to_string(sizeof(S)) + " bytes " +
                           std::to_string(c.n) + " + " + std::to_string(c.m) + " similarity " +
                           std::to_string(static_cast<int>(c.similarity));
  Random random(c.n + 31 * c.m);
  const Side<S> rows_side = rows_of<S>(c.n, c.d, random), side = rows_of<S>(c.m, c.d, random);
  std::vector<int32_t> label(c.n + c.m + device::kSelfPad, -1);
  for (int64_t i = 0; i < c.n + c.m; ++i) label[i] = static_cast<int32_t>(random() % 9);
  const std::vector<float> factor(c.n, 0.75f);
  const auto run = [&](bool tiles) {
    PlainRuntime runtime;
    const Uploaded<S> x(runtime, dense(rows_side)), y(runtime, dense(side));
    const Uploaded<int32_t> labels(runtime, label);
    const Uploaded<float> factors(runtime, factor);
    const device::SelfOnDevice<S, float> input{.n = c.n,
                                               .k = c.m,
                                               .d = c.d,
                                               .rows = x.data(),
                                               .others = y.data(),
                                               .itself = true,
                                               .factor = factors.data(),
                                               .counted = factors.data(),
                                               .similarity = c.similarity,
                                               .scale = {static_cast<float>(c.scale)},
                                               .scale_divides = false,
                                               .workspace = c.workspace,
                                               .tiles = tiles};
    const double options[8] = {};
    const auto loss = Loss<float>::make(options, labels.data());
    device::SelfCuda<Loss<float>, S> engine(runtime, input, loss);
    const device::Buffer<Row> rows(runtime, c.n);
    const device::Buffer<float> one(runtime, 1), dx(runtime, c.n * c.d), dy(runtime, c.m * c.d);
    device::SelfResultOnDevice<float> result{.mean = true, .loss = one.data()};
    Result out;
    const int64_t before = runtime.multiply_adds();
    engine.forward(rows.data(), result);
    out.products.push_back(runtime.multiply_adds() - before);
    out.add(one);
    result.gradients = {.rows = dx.data(), .others = dy.data()};
    engine.forward_gradient(rows.data(), result);
    out.add(one);
    out.add(dx);
    out.add(dy);
    return out;
  };
  const Result tiles = run(true);
  compare(name, tiles, run(false), sizeof(S) == 2 && !is_distance(c.similarity) ? 2e-3 : 2e-5);
  expect_products(name, tiles, c, c.n * c.m * c.d);
}

constexpr Similarity kCosine = Similarity::kCosine, kRoot = Similarity::kEuclidean;
constexpr Similarity kSquare = Similarity::kSquaredEuclidean;

template <class S>
void few() {
  pairwise<InfoNce, S>("info_nce",
                       {.n = 70, .m = 150, .d = 24, .scale = 0.3, .groups = true, .gradient = 3},
                       {0.1, 0.0});
  if (kForRaces) return;
  // Rows that are not aligned; chunks of parts of rows; biases.
  pairwise<InfoNce, S>(
      "info_nce", {.n = 300, .m = 1500, .d = 15, .scale = 0.3, .bias = true, .workspace = 1 << 18},
      {0.0, 0.0});
  pairwise<InfoNce, S>(
      "info_nce", {.n = 60, .m = 130, .d = 9, .similarity = kCosine, .scale = 10, .gradient = 3},
      {0.0, 0.0});
}

void all() {
  using S = BFloat16;
  pairwise<ClipLoss, S>(
      "clip_loss",
      {.n = 300, .m = 300, .d = 20, .similarity = kCosine, .scale = 10, .workspace = 1 << 17},
      {0.1});
  pairwise<ClipLoss, S>("clip_loss", {.n = 90, .m = 90, .d = 8, .gradient = 3}, {0.0});
  pairwise<SigLipLoss, S>("siglip_loss", {.n = 140, .m = 140, .d = 15, .scale = 0.2}, {-1.0});
  pairwise<InBatchBprLoss, S>("in_batch_bpr_loss", {.n = 90, .m = 140, .d = 15, .scale = 0.2}, {});
  self<NtXent, S>("nt_xent", {.n = 200, .m = 60, .d = 15, .scale = 5});
  self<SupCon, S>(
      "sup_con",
      {.n = 300, .m = 0, .d = 16, .similarity = kCosine, .scale = 5, .workspace = 1 << 16});
  // Distances of float rows are taken of centred copies, which are no tf32 numbers any more.
  pairwise<InfoNce, S>("info_nce", {.n = 140, .m = 70, .d = 15, .similarity = kRoot, .gradient = 3},
                       {0.0, 0.0});
  pairwise<ClipLoss, S>(
      "clip_loss",
      {.n = 300, .m = 300, .d = 8, .similarity = kSquare, .scale = 0.2, .workspace = 1 << 17},
      {0.0});
  self<SupCon, S>("sup_con", {.n = 150, .m = 30, .d = 15, .similarity = kRoot});
}

}  // namespace

int main() {
  few<BFloat16>();
  if constexpr (!kForRaces) all();
  if constexpr (!kSanitized) {
    few<float>();
    few<Float16>();
  }
  if (failures > 0) std::printf("%d failures\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
