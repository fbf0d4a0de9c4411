// The pointwise engine keeps its contract (pointwise.h), whatever the layout: every kept logit is
// pushed once and differentiated once, in its own place, ignored rows never.
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "engines/pointwise_cpu.h"
#include "host_plain.h"

using namespace fastloss;

struct Record {
  std::vector<double> pushed;           // values, in the order of pushes
  std::vector<int64_t> pushed_columns;  // of each
  std::vector<double> differentiated;
};
Record* record = nullptr;

// A row's "loss" is the sum of its logits and of their targets; the derivative of a logit is
// itself.
template <bool kOfClass>
struct Recorder {
  static constexpr bool kTargetIsClass = kOfClass;
  struct State {
    double sum = 0;
    void merge(const State& other) { sum += other.sum; }
  };
  struct Row {
    double value = -1;
    double dtarget = 0;
    double kept = 0;
    bool counts() const { return kept != 0; }

    static constexpr int64_t kFields = 3;
    static Row load(const double* fields, int64_t stride) {
      return {fields[0], fields[stride], fields[2 * stride]};
    }
    void store(double* fields, int64_t stride) const {
      fields[0] = value;
      fields[stride] = dtarget;
      fields[2 * stride] = kept;
    }
  };
  struct Lanes {
    State states[kLanes];
    State operator[](int64_t r) const { return states[r]; }
    void set(int64_t r, const State& state) { states[r] = state; }
  };

  static bool takes_target(double t) { return t != 99; }
  static double weight_of(int64_t column) { return static_cast<double>(column) + 1; }

  State push(const double* z, const double* target, int64_t column, int64_t count) const {
    State state;
    for (int64_t j = 0; j < count; ++j) {
      record->pushed.push_back(z[j]);
      record->pushed_columns.push_back(column + j);
      state.sum += z[j] + (target != nullptr ? target[j] : 0);
    }
    return state;
  }
  Row finish(const State& state) const { return {state.sum, 0, 1}; }
  Row finish(const State& state, double z, double weight) const {
    return {state.sum + z, -weight, 1};
  }
  void dscores(const double* z, const double*, int64_t column, int64_t count, const Row&,
               double factor, double* out) const {
    for (int64_t j = 0; j < count; ++j) {
      record->differentiated.push_back(z[j]);
      CHECK(static_cast<int64_t>(z[j]) % 10000 == column + j);
      out[j] = factor * z[j];
    }
  }

  // Lanes without a row hold zeros and are not recorded: a row's first logit tells which it is.
  void push_lanes(const double* z, const double* target, int64_t column, int64_t count,
                  int64_t lanes, Lanes& lane_states) const {
    State* const states = lane_states.states;
    CHECK(lanes % kLaneStep == 0 && lanes <= kLanes && count <= kLaneColumns);
    for (int64_t r = 0; r < lanes; ++r) {
      states[r] = {};
      for (int64_t c = 0; c < count; ++c) {
        const double value = z[c * kLanes + r];
        if (value == -math::kInfinity<double>) continue;  // the row's class
        states[r].sum += value + (target != nullptr && !kOfClass ? target[c * kLanes + r] : 0);
        if (value == 0) continue;
        record->pushed.push_back(value);
        record->pushed_columns.push_back(column + c);
      }
    }
  }
  void dscores_lanes(const double* z, const double*, int64_t column, int64_t count, int64_t lanes,
                     const double*, const double* factor, double* out) const {
    for (int64_t r = 0; r < lanes; ++r) {
      for (int64_t c = 0; c < count; ++c) {
        const double value = z[c * kLanes + r];
        out[c * kLanes + r] = factor[r] * value;
        if (value == 0) continue;
        record->differentiated.push_back(value);
        CHECK(static_cast<int64_t>(value) % 10000 == column + c);
      }
    }
  }
};

// Logit (row, column) is 10 000 · (row + 1) + column: a value tells its place.
template <bool kOfClass>
void test_rows(int64_t outer, int64_t classes, int64_t inner, bool ignoring) {
  const int64_t rows = outer * inner;
  std::vector<double> z(rows * classes), target(z.size()), gradient(z.size(), -7);
  std::vector<int64_t> target_class(rows);
  for (int64_t row = 0; row < rows; ++row) {
    target_class[row] = ignoring && row % 3 == 1 ? -100 : (row * 7) % classes;
    for (int64_t c = 0; c < classes; ++c) {
      const auto at = (row / inner * classes + c) * inner + row % inner;
      z[at] = static_cast<double>(10000 * (row + 1) + c);
      target[at] = 0.25;
    }
  }
  RowsInput<double> input{};
  input.outer = outer;
  input.classes = classes;
  input.inner = inner;
  input.input = {z.data(), StoredType::kDouble};
  if (kOfClass) {
    input.target_class = target_class.data();
    input.ignored = -100;
    input.ignores = ignoring;
  } else {
    input.target = {target.data(), StoredType::kDouble};
  }
  Record calls;
  record = &calls;
  using Loss = Recorder<kOfClass>;
  const RowsCpu<Loss, double> engine(input, Loss{});
  std::vector<double> out(Loss::Row::kFields * rows);
  CHECK(engine.forward(out.data()));
  std::vector<double> upstream(rows);
  for (int64_t row = 0; row < rows; ++row) upstream[row] = static_cast<double>(row % 5) - 2;
  engine.backward(out.data(), {upstream.data(), 1}, {gradient.data(), StoredType::kDouble});

  std::multiset<double> pushed(calls.pushed.begin(), calls.pushed.end());
  std::multiset<double> differentiated(calls.differentiated.begin(), calls.differentiated.end());
  for (size_t i = 0; i < calls.pushed.size(); ++i) {
    CHECK(static_cast<int64_t>(calls.pushed[i]) % 10000 == calls.pushed_columns[i]);
  }
  for (int64_t row = 0; row < rows; ++row) {
    const bool ignored = kOfClass && target_class[row] == -100;
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) {
      const auto at = (row / inner * classes + c) * inner + row % inner;
      const bool own = kOfClass && c == target_class[row];
      if (!ignored) CHECK(pushed.count(z[at]) == (own ? 0u : 1u));
      if (!ignored) CHECK(differentiated.count(z[at]) == 1u);
      const double derivative = own ? -static_cast<double>(c) - 1 : z[at];
      CHECK(gradient[at] == (ignored ? 0 : upstream[row] * derivative));
      sum += z[at] + (kOfClass ? 0 : 0.25);
    }
    CHECK(out[row] == (ignored ? -1 : sum));
  }

  if (!kOfClass && !z.empty()) {
    target.back() = 99;
    CHECK(!engine.forward(out.data()));
  }
}

struct Doubling {
  static bool takes_input(float x) { return x != 99; }
  static bool takes_target(float y) { return y != 99; }
  FASTLOSS_HOST_DEVICE Element<float> at(float x, float y, float w) const {
    return {2 * x + y, w * x};
  }
};

void test_elements(int64_t count, StoredType type) {
  std::vector<float> values(count), target(count, 0.5f), each(count), gradient(count, -7);
  std::vector<BFloat16> narrow(count), narrow_gradient(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(i % 90);
    narrow[i] = BFloat16::round(values[i]);
  }
  const int64_t period = count < 3 ? 1 : 3;
  std::vector<float> weight(period + kElementSpan);
  for (size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(i % period);
  const bool half = type == StoredType::kBFloat16;
  ElementsInput<float> input{};
  input.count = count;
  input.input = {half ? static_cast<const void*>(narrow.data()) : values.data(), type};
  input.target = {target.data(), StoredType::kFloat};
  input.weight = {weight.data(), period};
  input.positive_weight = {weight.data(), period};
  const ElementsCpu<Doubling, float> engine(input, Doubling{});
  const auto sums = engine.forward(each.data());
  const Sink<float> sink{half ? static_cast<void*>(narrow_gradient.data()) : gradient.data(), type};
  std::vector<float> upstream(count);
  for (int64_t i = 0; i < count; ++i) upstream[i] = static_cast<float>(i % 4) - 2;
  engine.backward({upstream.data(), 3}, sink);
  for (int64_t i = 0; i < count; ++i) {
    const auto w = static_cast<float>(i % period);
    const float derivative = 3 * (w * (w * values[i])) * upstream[i];
    const float got = half ? static_cast<float>(narrow_gradient[i]) : gradient[i];
    CHECK(got == (half ? static_cast<float>(BFloat16::round(derivative)) : derivative));
  }
  engine.backward({nullptr, 3}, sink);
  double loss = 0, weights = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto w = static_cast<float>(i % period);
    CHECK(each[i] == w * (2 * values[i] + 0.5f));
    const float derivative = 3 * (w * (w * values[i]));
    const float got = half ? static_cast<float>(narrow_gradient[i]) : gradient[i];
    CHECK(got == (half ? static_cast<float>(BFloat16::round(derivative)) : derivative));
    loss += static_cast<double>(each[i]);
    weights += w;
  }
  CHECK_CLOSE(sums.loss, loss, 1e-6);
  CHECK(sums.weight == weights && !sums.outside);
  CHECK(engine.forward(nullptr).loss == sums.loss);
  if (count == 0) return;
  target.back() = 99;
  CHECK(engine.forward(nullptr).outside);
}

int main() {
  host::thread_count = 3;
  // Rows a block: 1 to 2 · kLanes + 1; classes: one tile, its border, several.
  for (const int64_t classes : {1, 2, 5, 8, 15, 16, 17, 127, 128, 129, 300, 1024, 1025, 2500}) {
    for (const bool ignoring : {false, true}) {
      test_rows<true>(4, classes, 1, ignoring);
      test_rows<true>(2, classes, 3, ignoring);
      test_rows<true>(1, classes, 33, ignoring);
    }
    test_rows<false>(4, classes, 1, false);
    test_rows<false>(2, classes, 17, false);
  }
  for (const int64_t rows : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65}) {
    for (const int64_t classes : {3, 16, 129}) {
      test_rows<true>(rows, classes, 1, true);
      test_rows<true>(1, classes, rows, true);
      test_rows<true>(rows, classes, 5, true);
      test_rows<false>(rows, classes, 1, false);
      test_rows<false>(3, classes, rows, false);
    }
  }
  test_rows<true>(20000, 3, 1, true);  // several tasks
  test_rows<true>(3, 3, 9000, true);
  test_rows<true>(0, 5, 1, false);
  test_rows<true>(5, 5, 0, false);
  for (const int64_t count : {0, 1, 1023, 1024, 1025, 16384, 40001}) {
    test_elements(count, StoredType::kFloat);
    test_elements(count, StoredType::kBFloat16);
  }
  return test::report();
}
