// LseState is a monoid with an empty state, and a span gives the state of its elements.
#include <random>
#include <vector>

#include "check.h"
#include "core/lse.h"

using namespace fastloss;

template <class T>
double direct(const std::vector<T>& scores) {
  long double sum = 0, max = -math::kInfinity<double>;
  for (const T s : scores) max = std::max(max, static_cast<long double>(s));
  if (std::isinf(max)) return static_cast<double>(max);
  for (const T s : scores) sum += std::exp(static_cast<long double>(s) - max);
  return static_cast<double>(max + std::log(sum));
}

template <class T>
LseState<T> state_of(const std::vector<T>& scores) {
  LseState<T> state;
  for (const T s : scores) state.push(s);
  return state;
}

template <class T>
void test_state(double tolerance) {
  const T inf = math::kInfinity<T>;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::mt19937 random(7);
  for (const double width : {1.0, 30.0, 1e4}) {
    for (const int count : {1, 2, 17, 256}) {
      std::uniform_real_distribution<double> uniform(-width, width);
      std::vector<T> a, b, all;
      for (int i = 0; i < count; ++i) a.push_back(static_cast<T>(uniform(random)));
      for (int i = 0; i < 3 * count; ++i) b.push_back(static_cast<T>(uniform(random)));
      if (count > 1) a[count / 2] = -inf;  // a masked term changes nothing
      all = a;
      all.insert(all.end(), b.begin(), b.end());
      CHECK_CLOSE(state_of(a).value(), direct(a), tolerance);
      auto merged = state_of(a);
      merged.merge(state_of(b));
      CHECK_CLOSE(merged.value(), direct(all), tolerance);
      auto swapped = state_of(b);
      swapped.merge(state_of(a));
      CHECK_CLOSE(swapped.value(), merged.value(), tolerance);
      auto with_empty = state_of(a);
      with_empty.merge(LseState<T>{});
      CHECK(with_empty.max == state_of(a).max && with_empty.sum == state_of(a).sum);
      LseState<T> empty_first;
      empty_first.merge(state_of(a));
      CHECK(empty_first.max == state_of(a).max && empty_first.sum == state_of(a).sum);

      // Spans: score = similarity + bias.
      std::vector<T> bias, z, factor, shifted;
      for (size_t j = 0; j < a.size(); ++j) {
        bias.push_back(static_cast<T>(uniform(random)));
        factor.push_back(static_cast<T>(j + 1));
        z.push_back(a[j]);
        shifted.push_back(a[j] + bias[j]);
      }
      const auto span = lse_of_span(z.data(), bias.data(), count);
      CHECK_CLOSE(span.value(), direct(shifted), tolerance);
      auto weights = z;
      const auto weighed = weigh_span(weights.data(), bias.data(), factor.data(), count);
      CHECK_CLOSE(weighed.value(), direct(shifted), tolerance);
      for (int j = 0; j < count; ++j) {
        const double expected = std::exp(static_cast<double>(shifted[j] - weighed.max)) * (j + 1);
        CHECK_CLOSE(weights[j], expected, 4 * tolerance * (j + 1));
      }
      const auto sum = sum_of_span(z.data(), bias.data(), count);
      double total = 0, allowed = 0;
      for (const T s : shifted) {
        if (std::isinf(s)) continue;
        total += s;
        allowed += 1;
      }
      CHECK_CLOSE(sum.total, total, 100 * tolerance * width);
      CHECK(sum.count == T(allowed));
    }
  }
  CHECK(LseState<T>{}.value() == -inf);
  CHECK(state_of<T>({-inf, -inf}).value() == -inf);
  CHECK(std::isnan(state_of<T>({T(1), nan}).value()));
  const T masked[] = {-inf, -inf, -inf}, poisoned[] = {T(0), nan, -inf}, zero[] = {0, 0, 0};
  CHECK(lse_of_span(masked, zero, 3).value() == -inf);
  CHECK(lse_of_span(masked, zero, 3).sum == T(0));
  CHECK(std::isnan(lse_of_span(poisoned, zero, 3).value()));
}

// Columns of one tile after the other: the same states as pushing a column's scores one by one.
// The first tile's scores lie further above the second's than any exponent.
template <class T>
void test_columns(double tolerance) {
  constexpr int kRows = 5, kCols = 7, kStride = 9;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(-1, 1);
  struct Column {
    LseState<T> lse;
  };
  Column merged[kCols], pushed[kCols];
  for (const double offset : {-double(math::kInfinity<T>), 4000.0, 0.0, 20.0}) {
    std::vector<T> tile(kRows * kStride);
    for (T& score : tile) score = static_cast<T>(offset + uniform(random));
    tile[kStride + 2] = -math::kInfinity<T>;
    merge_lse_of_columns(tile.data(), kStride, kRows, kCols, merged);
    for (int j = 0; j < kCols; ++j) {
      for (int r = 0; r < kRows; ++r) pushed[j].lse.push(tile[r * kStride + j]);
      CHECK(merged[j].lse.max == pushed[j].lse.max);
      CHECK_CLOSE(merged[j].lse.sum, pushed[j].lse.sum, tolerance);
    }
  }
}

int main() {
  test_columns<float>(1e-6);
  test_columns<double>(1e-14);
  test_state<float>(1e-6);
  test_state<double>(1e-14);
  return test::report();
}
