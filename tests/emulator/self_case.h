// One set against itself: inputs, the definition of the losses, and what is asked of the engine.
//
// The definition is evaluated twice, in a wider type and in the accumulation type. What the second
// is off by is the yardstick of the engine's error: twice as much, and a floor of a few roundings.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/self.cuh"
#include "emulator.h"
#include "plain_runtime.h"
#include "sanitized.h"

namespace fastloss::test {

struct Set {
  int64_t n, k, d;
  bool itself;
  Similarity similarity;
  double scale;
  std::vector<double> x;        // (n + k, d)
  std::vector<int32_t> label;   // (n + k)
  std::vector<double> factor;   // (n)
  std::vector<double> counted;  // (n)

  int64_t all() const { return n + k; }
  bool is_candidate(int64_t i, int64_t j) const { return j >= n || (itself && i != j); }
};

// Random rows around `offset`, rows 3 and 5 equal.
inline Set random_set(int64_t n, int64_t k, bool itself, Similarity similarity, double scale,
                      double offset = 0, int64_t d = 5) {
  Set set{n, k, d, itself, similarity, scale, {}, {}, {}, {}};
  std::mt19937 random(static_cast<unsigned>(n + 7 * k));
  std::normal_distribution<double> normal(0, 1);
  for (int64_t i = 0; i < set.all() * d; ++i) set.x.push_back(offset + normal(random));
  if (n > 5) std::copy_n(set.x.begin() + 3 * d, d, set.x.begin() + 5 * d);
  for (int64_t i = 0; i < set.all(); ++i) {
    set.label.push_back(static_cast<int32_t>(random() % 7));
    if (i >= n) continue;
    set.factor.push_back(i % 11 == 2 ? 0 : 0.25 + static_cast<double>(random() % 8) / 8);
    set.counted.push_back(set.factor.back());
  }
  if (n > 8) set.label[8] = 99;  // alone
  return set;
}

// The numbers as they are stored.
template <class S>
double stored(double value) {
  if constexpr (sizeof(S) == 2) return static_cast<double>(S::round(static_cast<float>(value)));
  return static_cast<double>(static_cast<S>(value));
}
template <class S>
S as_stored(double value) {
  if constexpr (sizeof(S) == 2) return S::round(static_cast<float>(value));
  return static_cast<S>(value);
}

template <class T>
struct Answer {
  std::vector<T> values;    // (n)
  std::vector<T> gradient;  // (n + k, d)
  T loss = 0, scale = 0;
  T size = 0;             // of the scale's gradient: Σ |terms|
  T reach = 0;            // of scores
  std::vector<T> mass;    // (n + k, d): Σ |terms|
  std::vector<T> spread;  // (n + k, d): √Σ terms²
};

// The value of a row's loss and its slopes, given the scores s_ij of its candidates (the others are
// NaN): slope[j] stays 0 of what has none. Returns whether the row counts in a mean.
template <class T>
using Rule =
    std::function<bool(int64_t i, const std::vector<T>& scores, T& value, std::vector<T>& slope)>;

// Rows as they are compared; of distances, the formula of the engines in the type T.
template <class T>
class Compared {
 public:
  explicit Compared(const Set& set) : set_(set) {
    const int64_t d = set.d;
    std::vector<double> mean(d);
    for (int64_t i = 0; i < set.n * d; ++i) mean[i % d] += set.x[i] / static_cast<double>(set.n);
    for (double& m : mean) m = is_distance(set.similarity) && std::isfinite(m) ? m : 0;
    for (int64_t i = 0; i < set.all(); ++i) {
      T square = 0;
      for (int64_t c = 0; c < d; ++c) {
        x_.push_back(static_cast<T>(set.x[i * d + c]));
        centred_.push_back(x_.back() - static_cast<T>(mean[c]));
        square += centred_.back() * centred_.back();
      }
      square_.push_back(square);
      inverse_.push_back(square == 0 ? T(0) : 1 / std::sqrt(square));
    }
  }

  T score(int64_t i, int64_t j) const {
    const T scale = static_cast<T>(set_.scale), xy = product(i, j);
    if (set_.similarity == Similarity::kDot) return scale * xy;
    if (set_.similarity == Similarity::kCosine) return scale * xy * inverse_[i] * inverse_[j];
    const T square = this->square(i, j);
    return -scale * (set_.similarity == Similarity::kEuclidean ? std::sqrt(square) : square);
  }

  // Adds slope · ∂s_ij/∂(row i, row j); `spread` gets squares.
  void add(int64_t i, int64_t j, T slope, Answer<T>& to) const {
    const int64_t d = set_.d;
    const T scale = static_cast<T>(set_.scale);
    const T u = inverse_[i], v = inverse_[j], cosine = product(i, j) * u * v;
    const T distance = is_distance(set_.similarity) ? std::sqrt(square(i, j)) : T(0);
    for (int64_t c = 0; c < d; ++c) {
      const T x = x_[i * d + c], y = x_[j * d + c];
      T of_i = scale * y, of_j = scale * x;
      if (set_.similarity == Similarity::kCosine) {
        of_i = scale * (y * v - cosine * x * u) * u;
        of_j = scale * (x * u - cosine * y * v) * v;
      } else if (is_distance(set_.similarity)) {
        of_i = -scale * (x - y) * 2;
        if (set_.similarity == Similarity::kEuclidean) {
          of_i = distance == 0 ? T(0) : -scale * (x - y) / distance;
        }
        of_j = -of_i;
      }
      for (const auto& [row, term] : {std::pair{i, slope * of_i}, std::pair{j, slope * of_j}}) {
        to.gradient[row * d + c] += term;
        to.mass[row * d + c] += std::abs(term);
        to.spread[row * d + c] += term * term;
      }
    }
  }

 private:
  T product(int64_t i, int64_t j) const {
    T sum = 0;
    for (int64_t c = 0; c < set_.d; ++c) sum += centred_[i * set_.d + c] * centred_[j * set_.d + c];
    return sum;
  }
  T square(int64_t i, int64_t j) const {
    const T norms = square_[i] + square_[j], expanded = norms - 2 * product(i, j);
    if (!(expanded < kDirectDistance<T> * norms)) return expanded;
    T sum = 0;
    for (int64_t c = 0; c < set_.d; ++c) {
      const T difference = x_[i * set_.d + c] - x_[j * set_.d + c];
      sum += difference * difference;
    }
    return sum;
  }

  const Set& set_;
  std::vector<T> x_, centred_, square_, inverse_;
};

template <class T>
Answer<T> definition(const Set& set, bool mean, const Rule<T>& rule) {
  const Compared<T> rows(set);
  Answer<T> of;
  of.values.resize(set.n);
  of.gradient.resize(set.all() * set.d);
  of.mass = of.spread = of.gradient;
  std::vector<T> scores(set.all()), slope(set.all());
  std::vector<std::vector<T>> slopes;
  double divisor = 0, total = 0;
  for (int64_t i = 0; i < set.n; ++i) {
    for (int64_t j = 0; j < set.all(); ++j) {
      scores[j] = set.is_candidate(i, j) ? rows.score(i, j) : static_cast<T>(std::nan(""));
      of.reach = std::fmax(of.reach, std::abs(scores[j]));
    }
    std::fill(slope.begin(), slope.end(), T(0));
    T value = 0;
    if (rule(i, scores, value, slope)) divisor += set.counted[i];
    of.values[i] = set.factor[i] == 0 ? T(0) : static_cast<T>(set.factor[i]) * value;
    total += static_cast<double>(of.values[i]);
    slopes.push_back(slope);
  }
  const double overall = !mean ? 1 : divisor == 0 ? 0 : 1 / divisor;
  of.loss = static_cast<T>(total * overall);
  for (int64_t i = 0; i < set.n; ++i) {
    for (int64_t j = 0; j < set.all(); ++j) {
      const T s = static_cast<T>(set.factor[i] * overall) * slopes[i][j];
      if (s == T(0)) continue;
      rows.add(i, j, s, of);
      const T moment = s * rows.score(i, j) / static_cast<T>(set.scale);
      of.scale += moment;
      of.size += std::abs(moment);
    }
  }
  for (T& of_element : of.spread) of_element = std::sqrt(of_element);
  return of;
}

// A loss and its definitions.
template <template <class> class Loss>
struct Subject {
  std::string name;
  std::vector<double> options;
  std::function<Rule<long double>(const Set&)> in_long_double;
  std::function<Rule<double>(const Set&)> in_double;
  std::function<Rule<float>(const Set&)> in_float;

  template <class T>
  Rule<T> rule(const Set& set) const {
    if constexpr (std::is_same_v<T, long double>) {
      return in_long_double(set);
    } else if constexpr (std::is_same_v<T, double>) {
      return in_double(set);
    } else {
      return in_float(set);
    }
  }
};

inline void check_error(const std::string& what, long double got, long double exact,
                        long double yardstick, long double floor) {
  if (std::isnan(exact) || std::isinf(exact)) {
    if (std::isnan(exact) ? std::isnan(got) : got == exact) return;
  } else if (std::abs(got - exact) <= 2 * yardstick + floor) {
    return;
  }
  ++failures;
  std::fprintf(stderr, "%s: got %.9Lg, exact %.9Lg, yardstick %.3Lg, floor %.3Lg\n", what.c_str(),
               got, exact, yardstick, floor);
}

struct Expected {
  double forward = 0, gradient = 0;  // products n · (n or 0, + k) · d at most; 0: not asked
};

// Runs a loss on a set in all ways, `mean` and sum, with products and memory counted.
template <template <class> class Loss, class S>
void run(const Subject<Loss>& subject, Set set, int64_t workspace, int64_t full_tile,
         const Expected& expected = {}) {
  using T = std::conditional_t<std::is_same_v<S, double>, double, float>;
  using Exact = std::conditional_t<std::is_same_v<S, double>, long double, double>;
  using Engine = device::SelfCuda<Loss<T>, S>;
  using Row = typename Loss<T>::Row;
  emulator::PlainRuntime runtime;
  std::vector<S> x;
  for (double& value : set.x) {
    x.push_back(as_stored<S>(value));
    value = stored<S>(value);
  }
  const auto in_t = [](const std::vector<double>& values) {
    return std::vector<T>(values.begin(), values.end());
  };
  std::vector<int32_t> label = set.label;
  label.resize(set.all() + device::kSelfPad, 7);
  const emulator::Uploaded<S> rows(runtime, {x.begin(), x.begin() + set.n * set.d});
  const emulator::Uploaded<S> others(runtime, {x.begin() + set.n * set.d, x.end()});
  const emulator::Uploaded<T> factor(runtime, in_t(set.factor)),
      counted(runtime, in_t(set.counted));
  const emulator::Uploaded<int32_t> labels(runtime, label);
  const emulator::Uploaded<T> scale(runtime, {static_cast<T>(set.scale)});
  const Loss<T> loss = Loss<T>::make(subject.options.data(), labels.data());
  const std::string title = subject.name + " n " + std::to_string(set.n) + " k " +
                            std::to_string(set.k) + " similarity " +
                            std::to_string(static_cast<int>(set.similarity)) + " scale " +
                            std::to_string(set.scale) + " bytes " + std::to_string(sizeof(S)) +
                            " workspace " + std::to_string(workspace);
  const int64_t live = runtime.bytes_live();
  const device::Buffer<Row> saved(runtime, set.n);
  for (const bool mean : {true, false}) {
    const Answer<Exact> exact = definition<Exact>(set, mean, subject.template rule<Exact>(set));
    const Answer<T> eager = definition<T>(set, mean, subject.template rule<T>(set));
    // Forward, forward and gradient; backward of rows that are known.
    for (const int pass : mean ? std::vector<int>{0, 1} : std::vector<int>{2}) {
      const device::Buffer<T> values(runtime, set.n), number(runtime, 2);
      const device::Buffer<T> of_rows(runtime, set.n * set.d), of_others(runtime, set.k * set.d);
      const device::SelfOnDevice<S, T> in{
          set.n,      set.k,         set.d,          rows.data(),    others.data(),
          set.itself, factor.data(), counted.data(), set.similarity, {T(0), scale.data()},
          false,      workspace};
      device::SelfResultOnDevice<T> result{mean, number.data(), {}};
      if (pass > 0) {
        result.gradients = {of_rows.data(), set.k > 0 ? of_others.data() : nullptr,
                            number.data() + 1};
      }
      runtime.restart_peak();
      const int64_t before = runtime.multiply_adds();
      {
        Engine engine(runtime, in, loss, full_tile);
        if (pass == 0) engine.forward(saved.data(), result);
        if (pass == 1) engine.forward_gradient(saved.data(), result);
        if (pass == 2) engine.backward(saved.data(), result);
        if (pass < 2) engine.losses(saved.data(), values.data());
      }
      const double adds = static_cast<double>(runtime.multiply_adds() - before);
      const double product = static_cast<double>(set.n * (set.itself * set.n + set.k) * set.d);
      if (pass == 0 && expected.forward > 0) CHECK(adds <= expected.forward * product);
      if (pass == 1 && expected.gradient > 0) CHECK(adds <= expected.gradient * product);
      // Beside the workspace: copies of the operands, numbers of rows, gradients of the test.
      const int64_t beside = set.all() * (2 * (set.d + 16) * 4 + 200) * (sizeof(T) / 4) + 300000;
      CHECK(runtime.bytes_peak() - live <= workspace + beside);
      std::vector<T> results = emulator::download(number);
      results.resize(pass == 0 ? 1 : 2);
      for (const auto& part : {pass < 2 ? emulator::download(values) : std::vector<T>{},
                               pass > 0 ? emulator::download(of_rows) : std::vector<T>{},
                               pass > 0 ? emulator::download(of_others) : std::vector<T>{}}) {
        results.insert(results.end(), part.begin(), part.end());
      }
      // Roundings of T, and of coefficients as they are multiplied.
      const Exact eps = (std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24) * (8 + 2 * exact.reach);
      const Exact of_w = std::is_same_v<S, BFloat16>  ? 0x1p-9
                         : std::is_same_v<S, Float16> ? 0x1p-12
                                                      : 0;
      const auto worst = [](const std::vector<T>& in_t, const std::vector<Exact>& of) {
        Exact most = 0;
        for (size_t i = 0; i < in_t.size(); ++i) {
          most = std::fmax(most, std::abs(static_cast<Exact>(in_t[i]) - of[i]));
        }
        return most;
      };
      const auto judge = [&](const std::string& what, T got, Exact of, Exact yardstick,
                             Exact floor) {
        check_error(title + (mean ? " mean " : " sum ") + std::to_string(pass) + ": " + what, got,
                    of, yardstick, floor);
      };
      judge("loss", results[0], exact.loss, std::abs(eager.loss - exact.loss),
            eps * std::abs(exact.loss));
      if (pass > 0) {
        judge("scale", results[1], exact.scale, std::abs(eager.scale - exact.scale),
              eps * exact.size);
      }
      int64_t at = pass == 0 ? 1 : 2;
      const Exact of_values = worst(eager.values, exact.values);
      for (int64_t i = 0; pass < 2 && i < set.n; ++i, ++at) {
        judge("value " + std::to_string(i), results[at], exact.values[i], of_values,
              eps * std::abs(exact.values[i]));
      }
      const Exact of_gradient = worst(eager.gradient, exact.gradient);
      for (int64_t i = 0; pass > 0 && i < set.all() * set.d; ++i, ++at) {
        judge("gradient " + std::to_string(i / set.d) + ", " + std::to_string(i % set.d),
              results[at], exact.gradient[i], of_gradient,
              eps * exact.mass[i] + 5 * of_w * exact.spread[i]);
      }
      if (failures > 20) return;
    }
  }
}

// Inputs that expose mistakes. `paired`: even numbers of rows, which are candidates of each other.
template <template <class> class Loss, class S>
void run_all(const Subject<Loss>& subject, bool paired) {
  constexpr int64_t kMuch = 1 << 26, kLittle = 1 << 16, kAnyTile = 1;
  const auto even = [=](int64_t n) { return paired ? n + n % 2 : n; };
  // The loops are the same for all types but for loads and stores.
  constexpr bool kFew = kSanitized || sizeof(S) == 8 || std::is_same_v<S, Float16>;
  constexpr Similarity kAll[] = {Similarity::kDot, Similarity::kCosine, Similarity::kEuclidean,
                                 Similarity::kSquaredEuclidean};
  for (const Similarity kind : kAll) {
    if (kSanitized && kind != Similarity::kCosine && kind != Similarity::kEuclidean) continue;
    run<Loss, S>(subject, random_set(even(129), 0, true, kind, 2), kMuch, kAnyTile);
    run<Loss, S>(subject, random_set(even(67), 70, paired, kind, 0.1), kMuch, kAnyTile);
    if (kFew) continue;
    // Tiles of 64 × 64, the first ones kept, or none.
    run<Loss, S>(subject, random_set(even(195), 0, true, kind, 1), 1 << 17, kAnyTile);
    run<Loss, S>(subject, random_set(even(139), 130, paired, kind, 1), kLittle, kAnyTile);
  }
  // Factors that 16 bits do not hold.
  for (const double times : {1e-6, 1e5}) {
    Set set = random_set(even(66), 9, paired, Similarity::kDot, 0.5);
    for (double& f : set.factor) f *= times;
    run<Loss, S>(subject, set, kMuch, kAnyTile);
  }
  if (kFew) return;
  for (const int64_t n : {1, 2, 6, 127}) {
    run<Loss, S>(subject, random_set(even(n), 0, true, Similarity::kCosine, 5), kMuch, kAnyTile);
    run<Loss, S>(subject, random_set(even(n), 3, paired, Similarity::kDot, 0.5), kMuch, kAnyTile);
  }
  run<Loss, S>(subject, random_set(even(5), 0, paired, Similarity::kDot, 1), kMuch, kAnyTile);
  // Temperatures of 1/200 and of 10.
  for (const double scale : {200.0, 0.1}) {
    run<Loss, S>(subject, random_set(even(131), 0, true, Similarity::kCosine, scale), kMuch,
                 kAnyTile);
  }
  // Scores far below 0, and rows far from it.
  Set negative = random_set(even(70), 0, true, Similarity::kDot, 1, 0, 3);
  for (int64_t i = 0; i < negative.n; ++i) negative.x[3 * i] = i % 2 ? -20 : 20;
  run<Loss, S>(subject, negative, kMuch, kAnyTile);
  run<Loss, S>(subject, random_set(even(130), 0, true, Similarity::kEuclidean, 3, 100), kMuch,
               kAnyTile);
  Set nan = random_set(even(66), 70, paired, Similarity::kCosine, 1);
  nan.x[4 * nan.d + 1] = std::nan("");
  run<Loss, S>(subject, nan, kMuch, kAnyTile);
}

// Half of the products of all rows with each other, and what gradients add. Blocks of 256 rows.
template <template <class> class Loss>
void run_products(const Subject<Loss>& subject, bool of_pairs) {
  const Set set = random_set(1100, 0, true, Similarity::kDot, 2, 0, 1);
  run<Loss, float>(subject, set, 1 << 26, 1, {0.62, 3 * 0.62});
  run<Loss, float>(subject, set, 1 << 20, 1, {0.62, (of_pairs ? 3 : 4) * 0.62});
}

template <class Work>
int report_of(const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
  return report();
}

}  // namespace fastloss::test
