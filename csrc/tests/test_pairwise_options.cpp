// What the pairwise engine makes of its options, all at once: similarities, margin, bias, ids, own
// negatives. InfoNCE and its derivatives against dual numbers through the definition.
#include <random>
#include <vector>

#include "check.h"
#include "dual.h"
#include "engines/pairwise_cpu.h"
#include "host_plain.h"
#include "losses/info_nce.h"

using namespace fastloss;
using test::Dual;

namespace {

template <class T>
T similarity(Similarity kind, const T* a, const T* b, int64_t d) {
  T product(0.0), square(0.0), aa(0.0), bb(0.0);
  for (int64_t c = 0; c < d; ++c) {
    product += a[c] * b[c];
    square += (a[c] - b[c]) * (a[c] - b[c]);
    aa += a[c] * a[c];
    bb += b[c] * b[c];
  }
  using std::sqrt;
  if (kind == Similarity::kCosine) return product / sqrt(aa * bb);
  if (kind == Similarity::kEuclidean) return -sqrt(square);
  if (kind == Similarity::kSquaredEuclidean) return -square;
  return product;
}

constexpr int64_t kRows = 7, kKeys = 300, kFeatures = 5, kOwn = 2;

struct Problem {
  std::vector<double> query, key, negatives, bias;
  std::vector<int64_t> target, ids, order, begin, end;
  std::vector<double> weight;  // of the rows
  Similarity kind;
  double scale = 1.7, margin = 0.3;

  explicit Problem(Similarity similarity) : kind(similarity) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<double>& values, int64_t count) {
      for (int64_t i = 0; i < count; ++i) values.push_back(normal(random));
    };
    fill(query, kRows * kFeatures);
    fill(key, kKeys * kFeatures);
    fill(negatives, kRows * kOwn * kFeatures);
    fill(bias, kKeys);
    fill(weight, kRows);
    for (int64_t i = 0; i < kRows; ++i) target.push_back(41 * i + 3);
    // Group j / 3; neighbours lie in one panel or in two.
    for (int64_t j = 0; j < kKeys; ++j) {
      ids.push_back(j / 3);
      order.push_back(j);
      begin.push_back(j / 3 * 3);
      end.push_back(j / 3 * 3 + 3);
    }
  }

  PairwiseInput<double, double> input(bool with_bias) const {
    return {.n = kRows,
            .m = kKeys,
            .d = kFeatures,
            .h = kOwn,
            .query = query.data(),
            .key = key.data(),
            .negatives = negatives.data(),
            .key_bias = with_bias ? bias.data() : nullptr,
            .target = target.data(),
            .groups = {order.data(), begin.data(), end.data()},
            .similarity = kind,
            .scale = scale,
            .margin = margin,
            .workspace = 1 << 26};
  }
};

// The variables of a problem, one of them moved by ε.
struct Moved {
  std::vector<Dual> query, key, negatives, bias;
  Dual scale;

  Moved(const Problem& p, bool with_bias)
      : query(p.query.begin(), p.query.end()),
        key(p.key.begin(), p.key.end()),
        negatives(p.negatives.begin(), p.negatives.end()),
        bias(p.bias.begin(), p.bias.end()),
        scale(p.scale) {
    if (!with_bias) bias.assign(kKeys, Dual(0.0));
  }
};

Dual row_loss(const Problem& p, const Moved& at, int64_t i) {
  const Dual* const q = at.query.data() + i * kFeatures;
  const auto score = [&](const Dual* key) {
    return at.scale * similarity(p.kind, q, key, kFeatures);
  };
  const int64_t t = p.target[i];
  const Dual target = score(at.key.data() + t * kFeatures) - at.scale * Dual(p.margin) + at.bias[t];
  Dual sum = exp(target);
  for (int64_t j = 0; j < kKeys; ++j) {
    if (p.ids[j] != p.ids[t]) sum += exp(score(at.key.data() + j * kFeatures) + at.bias[j]);
  }
  for (int64_t h = 0; h < kOwn; ++h) {
    sum += exp(score(at.negatives.data() + (i * kOwn + h) * kFeatures));
  }
  return log(sum) - target;
}

// ∂/∂ of 0.5 · Σ weight_i L_i by one number of a problem.
template <class Number>
double derivative(const Problem& p, Moved at, const Number& number) {
  number(at).derivative = 1;
  double sum = 0;
  for (int64_t i = 0; i < kRows; ++i) sum += p.weight[i] * row_loss(p, at, i).derivative;
  return 0.5 * sum;
}

struct Factors {
  const std::vector<double>& weight;
  double operator()(int64_t row) const { return weight[row]; }
  double overall(const InfoNce<double>::Row*) const { return 0.5; }
};

void run(Similarity kind, bool with_bias) {
  const Problem p(kind);
  const Moved fixed(p, with_bias);
  const auto in = p.input(with_bias);
  using Engine = PairwiseCpu<InfoNce<double>, double>;
  std::vector<InfoNce<double>::Row> rows(kRows);
  Engine(in, {0, false}).forward(rows.data());
  for (int64_t i = 0; i < kRows; ++i) {
    CHECK_CLOSE(rows[i].value, row_loss(p, fixed, i).value, 1e-13);
  }

  for (const bool again : {false, true}) {
    std::vector<double> query(p.query.size()), key(p.key.size()), bias(kKeys, 0.0);
    std::vector<double> own(kRows * kOwn * 2);
    double scale = 0;
    PairwiseGradients<double> gradients{
        .query = query.data(), .key = key.data(), .own = own.data()};
    // Without them the scores need not be kept.
    if (with_bias) gradients.key_bias = bias.data(), gradients.scale = &scale;
    Engine engine(in, {0, false});
    if (again) {
      engine.backward(rows.data(), Factors{p.weight}, gradients);
    } else {
      engine.forward_gradient(rows.data(), Factors{p.weight}, gradients);
    }
    const auto expect = [&](const std::vector<double>& got, std::vector<Dual> Moved::* member) {
      for (size_t k = 0; k < got.size(); k += got.size() > 100 ? 17 : 1) {
        const double exact =
            derivative(p, fixed, [&](Moved& at) -> Dual& { return (at.*member)[k]; });
        CHECK_CLOSE(got[k], exact, 1e-13);
      }
    };
    expect(query, &Moved::query);
    expect(key, &Moved::key);
    std::vector<double> negatives(p.negatives.size());
    for (int64_t k = 0; k < kRows * kOwn; ++k) {
      for (int64_t c = 0; c < kFeatures; ++c) {
        const double x = p.query[k / kOwn * kFeatures + c], y = p.negatives[k * kFeatures + c];
        negatives[k * kFeatures + c] = own[2 * k] * (x - own[2 * k + 1] * y);
      }
    }
    expect(negatives, &Moved::negatives);
    if (!with_bias) continue;
    expect(bias, &Moved::bias);
    CHECK_CLOSE(scale, derivative(p, fixed, [](Moved& at) -> Dual& { return at.scale; }), 1e-12);
  }
}

// Rows 1/1000 apart, 30 from the centre: |a|² + |b|² − 2ab has no digit of their distance in float.
void run_close_pairs() {
  const int64_t n = 40, d = 4;
  std::vector<float> query(n * d), key(n * d);
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0, 30);
  for (int64_t k = 0; k < n * d; ++k) query[k] = normal(random), key[k] = query[k] + 1e-3f;
  std::vector<int64_t> target;
  for (int64_t i = 0; i < n; ++i) target.push_back((i + 1) % n);
  PairwiseInput<float, float> in{};
  in.n = in.m = n, in.d = d;
  in.query = query.data(), in.key = key.data(), in.target = target.data();
  in.similarity = Similarity::kEuclidean, in.scale = 1, in.workspace = 1 << 26;
  std::vector<InfoNce<float>::Row> rows(n);
  PairwiseCpu<InfoNce<float>, float>(in, {0, false}).forward(rows.data());
  for (int64_t i = 0; i < n; ++i) {
    double sum = 0, apart = 0;
    for (int64_t j = 0; j < n; ++j) {
      double square = 0;
      for (int64_t c = 0; c < d; ++c) {
        const double gap = static_cast<double>(query[i * d + c]) - key[j * d + c];
        square += gap * gap;
      }
      sum += std::exp(-std::sqrt(square));
      if (j == target[i]) apart = std::sqrt(square);
    }
    CHECK_CLOSE(rows[i].value, std::log(sum) + apart, 1e-6);
  }
}

}  // namespace

int main() {
  for (const Similarity kind : {Similarity::kDot, Similarity::kCosine, Similarity::kEuclidean,
                                Similarity::kSquaredEuclidean}) {
    for (const bool with_bias : {false, true}) run(kind, with_bias);
  }
  run_close_pairs();
  return test::report();
}
