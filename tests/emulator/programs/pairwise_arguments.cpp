// Arguments of the pairwise losses as the engine takes them: targets in range or not, weights,
// numbers, 16-bit gradients.
//
// quick: plain
#include "cuda/pairwise_arguments.cu"

#include <cmath>

#include "check.h"
#include "plain_runtime.h"

using namespace fastloss;
using namespace fastloss::device;
using emulator::download;
using emulator::PlainRuntime;
using emulator::Uploaded;

namespace {

constexpr int64_t kRows = 300;  // more than a block
constexpr int64_t kColumns = 40;

template <class T>
struct Prepared {
  std::vector<int64_t> target;
  std::vector<T> factor, counted;
};

template <class T>
Prepared<T> prepared(PlainRuntime& runtime, const RowArguments<T>& rows) {
  const Buffer<int64_t> target(runtime, rows.n);
  const Buffer<T> factor(runtime, rows.n), counted(runtime, rows.n);
  prepare_rows(runtime, rows, target.data(), factor.data(), counted.data());
  return {download(target), download(factor), download(counted)};
}

// Row i: column i, all in range.
template <class T>
void test_rows_without_targets() {
  PlainRuntime runtime;
  for (const bool has_target : {true, false}) {
    const auto got = prepared<T>(runtime, {.n = kRows, .m = kRows, .has_target = has_target});
    for (int64_t i = 0; i < kRows; ++i) {
      CHECK(got.target[i] == (has_target ? i : kNoTarget));
      CHECK(got.factor[i] == 1 && got.counted[i] == 1);
    }
  }
}

// Every kind of target with every kind of weight.
template <class T>
void test_rows() {
  PlainRuntime runtime;
  constexpr int64_t kIgnored = -100;
  std::vector<int64_t> given, pairs;
  std::vector<T> weight, upstream, divisor;
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t odd[] = {kIgnored, -1, kColumns, -7, INT64_MAX, INT64_MIN};
    given.push_back(i % 3 ? i % kColumns : odd[i / 3 % 6]);
    weight.push_back(static_cast<T>(i % 7 ? 0.5 * static_cast<double>(i % 5) : -1.0));
    upstream.push_back(static_cast<T>(i % 4 - 1));
    pairs.push_back(i % 6);
  }
  for (int64_t j = 0; j < kColumns; ++j) divisor.push_back(static_cast<T>(j % 9 - 1));
  const Uploaded<int64_t> targets(runtime, given), counts(runtime, pairs);
  const Uploaded<T> weights(runtime, weight), upstreams(runtime, upstream),
      divisors(runtime, divisor);
  for (int bits = 0; bits < 16; ++bits) {
    const bool may_lack = bits & 1, ignores = bits & 2, weighted = bits & 4, of_pairs = bits & 8;
    const bool of_classes = !of_pairs && !may_lack;
    const RowArguments<T> rows{.n = kRows,
                               .m = kColumns,
                               .target = targets.data(),
                               .may_lack = may_lack,
                               .ignores = ignores,
                               .ignored = kIgnored,
                               .weights = weighted ? weights.data() : nullptr,
                               .upstream = weighted ? upstreams.data() : nullptr,
                               .divisors = of_classes ? divisors.data() : nullptr,
                               .pairs = of_pairs ? counts.data() : nullptr,
                               .half = T(0.5)};
    const auto got = prepared(runtime, rows);
    for (int64_t i = 0; i < kRows; ++i) {
      const int64_t t = given[i];
      if (ignores && t == kIgnored) {
        CHECK(got.target[i] == kIgnoredRow && got.factor[i] == 0 && got.counted[i] == 0);
        continue;
      }
      if (t >= kColumns || t < (may_lack ? -1 : 0)) {
        CHECK(got.target[i] == kNoTarget);
        CHECK(std::isnan(got.factor[i]) && std::isnan(got.counted[i]));
        continue;
      }
      CHECK(got.target[i] == t);
      const bool refused = weighted && weight[i] < 0;
      const T w = weighted ? weight[i] : T(1);
      CHECK(refused ? std::isnan(got.factor[i])
                    : got.factor[i] == T(0.5) * w * (weighted ? upstream[i] : T(1)));
      T counted = w;
      if (of_classes) counted = divisor[t];
      if (of_pairs) counted *= static_cast<T>(pairs[i]);
      const bool none = of_classes ? counted < 0 : refused;
      CHECK(none ? std::isnan(got.counted[i]) : got.counted[i] == counted);
    }
  }
}

template <class T>
void test_weights() {
  PlainRuntime runtime;
  std::vector<T> weight;
  for (int64_t j = 0; j < kRows + 1; ++j) weight.push_back(static_cast<T>(j % 4 - 1));
  const Uploaded<T> given(runtime, weight);
  const Buffer<T> out(runtime, padded(kRows + 1));
  prepare_weights(runtime, given.data(), kRows + 1, out.data());
  const auto got = download(out);
  for (int64_t j = 0; j < out.size(); ++j) {
    const T w = j <= kRows ? weight[j] : T(0);
    CHECK(w < 0 ? std::isnan(got[j]) : got[j] == w);
  }
}

template <class V, class T>
void test_number(StoredType type, V stored) {
  PlainRuntime runtime;
  const Uploaded<V> number(runtime, {stored});
  const Buffer<T> out(runtime, 1);
  const double value = static_cast<double>(stored);
  prepare_number<T>(runtime, number.data(), type, out.data());
  const T got = download(out)[0];
  CHECK(std::isnan(value) ? std::isnan(got) : got == static_cast<T>(value));
  for (const bool divides : {true, false}) {
    prepare_scale<T>(runtime, number.data(), type, divides, out.data());
    const T scale = download(out)[0];
    const bool usable = value > 0 && std::isfinite(value);
    CHECK(usable ? scale == static_cast<T>(divides ? 1 / value : value) : std::isnan(scale));
  }
}

template <class T>
void test_numbers() {
  for (const double value : {0.07, 14.0, 0.0, -1.0, HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    const float narrow = static_cast<float>(value);
    test_number<double, T>(StoredType::kDouble, value);
    test_number<float, T>(StoredType::kFloat, narrow);
    test_number<BFloat16, T>(StoredType::kBFloat16, BFloat16::round(narrow));
    test_number<Float16, T>(StoredType::kFloat16, Float16::round(narrow));
  }
}

template <class S>
void test_scaled() {
  PlainRuntime runtime;
  for (const int64_t count : {1, 1023, 1025}) {
    std::vector<float> gradient;
    for (int64_t i = 0; i < count; ++i) gradient.push_back(std::sin(static_cast<float>(i)));
    const Uploaded<float> given(runtime, gradient), scale(runtime, {0.3f});
    const Buffer<S> out(runtime, count);
    scaled_gradient(runtime, given.data(), count, scale.data(), out.data());
    const auto got = download(out);
    for (int64_t i = 0; i < count; ++i) CHECK(got[i].bits == S::round(0.3f * gradient[i]).bits);
  }
}

// a (q − r y) of every negative y of a query q.
template <class S, class T>
void test_negatives() {
  PlainRuntime runtime;
  constexpr int64_t n = 5, h = 7, d = 35;
  const auto stored = [](double value) { return round_to<S>(static_cast<T>(value)); };
  std::vector<S> query, negatives;
  std::vector<T> own;
  for (int64_t i = 0; i < n * d; ++i) query.push_back(stored(std::cos(i)));
  for (int64_t i = 0; i < n * h * d; ++i) negatives.push_back(stored(std::sin(3 * i)));
  for (int64_t i = 0; i < 2 * n * h; ++i) own.push_back(static_cast<T>(0.25) * (i % 5 - 2));
  const Uploaded<S> of_query(runtime, query), of_negatives(runtime, negatives);
  const Uploaded<T> of_own(runtime, own), scale(runtime, {T(2)});
  const Buffer<S> out(runtime, n * h * d);
  negatives_gradient<S, T>(runtime, n, h, d, of_query.data(), of_negatives.data(), of_own.data(),
                           scale.data(), out.data());
  const auto got = download(out);
  for (int64_t at = 0; at < n * h; ++at) {
    for (int64_t c = 0; c < d; ++c) {
      const double q = static_cast<double>(query[at / h * d + c]);
      const double y = static_cast<double>(negatives[at * d + c]);
      const double expected = 2 * own[2 * at] * (q - own[2 * at + 1] * y);
      const double eps = sizeof(S) == 2 ? 0x1p-8 : sizeof(T) == 8 ? 0x1p-51 : 0x1p-22;
      CHECK_CLOSE(static_cast<double>(got[at * d + c]), expected, eps);
    }
  }
}

template <class T>
void test_all() {
  test_rows_without_targets<T>();
  test_rows<T>();
  test_weights<T>();
  test_numbers<T>();
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  test_scaled<BFloat16>();
  test_scaled<Float16>();
  test_negatives<float, float>();
  test_negatives<double, double>();
  test_negatives<BFloat16, float>();
  test_negatives<Float16, float>();
  return test::report();
}
