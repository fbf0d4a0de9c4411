// Inputs, statistics and float64 scores for the tests of the tensor-core kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/mma_states.cuh"
#include "emulator_launch.h"
#include "engines/similarity.h"
#include "plain_runtime.h"
#include "sanitized.h"

namespace fastloss::mma_test {

inline int failures = 0;
inline void fail(const std::string& what) {
  if (++failures <= 20) std::printf("%s\n", what.c_str());
}

// splitmix64. No generator of the standard library: one that the emulator uses as well would be the
// same function, watched by the race detector.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // Mean 0, variance 1, close to normal.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>((*this)() >> 11) * 0x1p-53;
    return sum;
  }

 private:
  uint64_t state_;
};

// A value as it is stored, and as the tensor cores take it.
template <class S>
S stored(double value) {
  if constexpr (sizeof(S) == 2) {
    return S::round(static_cast<float>(value));
  } else {
    return static_cast<S>(value);
  }
}
template <class S>
double multiplied(S value) {
  if constexpr (std::is_same_v<S, float>) {
    const uint32_t bits = device::to_tf32(value);
    float rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    return rounded;
  } else {
    return static_cast<double>(value);
  }
}

// Rows with a gap of NaN after each, so that a value read past a row's end shows.
template <class S>
struct Side {
  int64_t count, d, stride;
  std::vector<S> values;

  Side(int64_t count, int64_t d)
      : count(count),
        d(d),
        stride((d * static_cast<int64_t>(sizeof(S)) + 15) / 16 * 16 /
               static_cast<int64_t>(sizeof(S))),
        values(static_cast<size_t>(count * stride), stored<S>(NAN)) {}

  S& at(int64_t row, int64_t c) { return values[static_cast<size_t>(row * stride + c)]; }
  double exact(int64_t row, int64_t c) const {
    return static_cast<double>(values[static_cast<size_t>(row * stride + c)]);
  }
  double input(int64_t row, int64_t c) const {
    return multiplied(values[static_cast<size_t>(row * stride + c)]);
  }
  double squared_norm(int64_t row) const {
    double sum = 0;
    for (int64_t c = 0; c < d; ++c) sum += exact(row, c) * exact(row, c);
    return sum;
  }
  std::vector<float> statistics(Similarity kind) const {
    std::vector<float> out(static_cast<size_t>(count), 1.0f);
    for (int64_t i = 0; i < count && kind != Similarity::kDot; ++i) {
      const double square = squared_norm(i);
      out[i] = static_cast<float>(kind != Similarity::kCosine ? square
                                  : square == 0               ? 0
                                                              : 1 / std::sqrt(square));
    }
    return out;
  }
};

// Float rows hold tf32 values where distances are taken: their expansion needs the same numbers in
// norms and products.
template <class S>
Side<S> random_side(int64_t count, int64_t d, double mean, Similarity kind, Random& random) {
  Side<S> side(count, d);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < d; ++c) {
      const S value = stored<S>(mean + random.normal());
      side.at(i, c) = is_distance(kind) ? stored<S>(multiplied(value)) : value;
    }
  }
  return side;
}

// Scores of one set with another in float64, and how far float ones may be off: each product is
// exact, their sum is rounded a few times an addition.
struct ScoreMatrix {
  int64_t n, m;
  std::vector<double> z;
  double error = 0;

  double at(int64_t i, int64_t j) const { return z[static_cast<size_t>(i * m + j)]; }
};

template <class S>
ScoreMatrix score_matrix(const Side<S>& query, const Side<S>& key, Similarity kind, double scale) {
  constexpr double kUnit = 0x1p-24;
  ScoreMatrix out{query.count, key.count, {}};
  out.z.resize(static_cast<size_t>(out.n * out.m));
  const std::vector<float> u = query.statistics(kind), v = key.statistics(kind);
  const double roundings = 4 + std::sqrt(static_cast<double>(query.d));
  for (int64_t i = 0; i < out.n; ++i) {
    for (int64_t j = 0; j < out.m; ++j) {
      double product = 0, size = 0, square = 0;
      for (int64_t c = 0; c < query.d; ++c) {
        const double term = query.input(i, c) * key.input(j, c);
        const double difference = query.exact(i, c) - key.exact(j, c);
        product += term;
        size += std::abs(term);
        square += difference * difference;
      }
      double z, error;
      if (is_distance(kind)) {
        const double norms = static_cast<double>(u[i]) + v[j];
        error = kUnit * roundings * (norms + 2 * size);
        const bool root = kind == Similarity::kEuclidean;
        // Above 1/64 of the norms from products, below from the difference.
        const bool direct = square < norms / 64;
        if (direct) error = kUnit * roundings * square;
        z = -scale * (root ? std::sqrt(square) : square);
        if (root) error = square == 0 ? 0 : error / (2 * std::sqrt(square));
        error = scale * error + kUnit * std::abs(z);
      } else {
        const double factor = scale * u[i] * v[j];
        z = product * factor;
        error = kUnit * (roundings * size * std::abs(factor) + 4 * std::abs(z));
      }
      out.z[static_cast<size_t>(i * out.m + j)] = z;
      if (error > out.error && std::isfinite(error)) out.error = error;
    }
  }
  return out;
}

inline bool close(double got, double wanted, double allowed) {
  if (std::isnan(wanted)) return std::isnan(got);
  if (std::isinf(wanted)) return got == wanted;
  return std::abs(got - wanted) <= allowed;
}

// Rows of numbers, field by field. `slack`: how far a field may be off for its size.
template <class FloatRow, class DoubleRow>
void compare_rows(const std::string& name, int64_t row, const FloatRow& got,
                  const DoubleRow& wanted, double absolute, double relative) {
  constexpr int kFields = sizeof(FloatRow) / sizeof(float);
  static_assert(sizeof(DoubleRow) == kFields * sizeof(double));
  float g[kFields];
  double w[kFields];
  std::memcpy(g, &got, sizeof got);
  std::memcpy(w, &wanted, sizeof wanted);
  for (int f = 0; f < kFields; ++f) {
    const double allowed = absolute + relative * std::abs(w[f]);
    if (!close(g[f], w[f], allowed)) {
      fail(name + ": row " + std::to_string(row) + " field " + std::to_string(f) + " is " +
           std::to_string(g[f]) + ", not " + std::to_string(w[f]) + ", off by " +
           std::to_string((g[f] - w[f]) / allowed) + " times what is allowed");
    }
  }
}

}  // namespace fastloss::mma_test
