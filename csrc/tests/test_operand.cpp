// Rows as multiplied: transposition at ragged sizes, centring, powers of two, padding untouched.
#include <vector>

#include "check.h"
#include "engines/operand.h"
#include "host_plain.h"

using namespace fastloss;

template <class T>
void test_transpose(int64_t rows, int64_t cols) {
  const int64_t in_stride = cols + 3, out_stride = rows + 5;
  std::vector<T> in(rows * in_stride), out(cols * out_stride, T(-1));
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<T>(i);
  detail::transpose(in.data(), in_stride, rows, cols, out.data(), out_stride);
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < out_stride; ++i) {
      CHECK(out[j * out_stride + i] == (i < rows ? in[i * in_stride + j] : T(-1)));
    }
  }
}

void test_rows() {
  const int64_t count = 19, d = 11;
  std::vector<float> data(count * d), centre(d), magnitude(count), factor(count);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i % 7) - 2.5f;
  for (int64_t k = 0; k < d; ++k) centre[k] = 0.25f * static_cast<float>(k);
  for (int64_t i = 0; i < count; ++i) magnitude[i] = i % 2 ? 4.0f : 1.0f;
  for (int64_t i = 0; i < count; ++i) factor[i] = static_cast<float>(i + 1);
  for (const bool moved : {false, true}) {
    Operand<float, float> rows{data.data(), count, d};
    if (moved) rows.centre = centre.data(), rows.magnitude = magnitude.data();
    CHECK(rows.in_place() == !moved);
    const auto expected = [&](int64_t i, int64_t k) {
      const float x = data[i * d + k];
      return moved ? (x - centre[k]) * magnitude[i] : x;
    };
    std::vector<float> scratch(7 * d), strip(8 * d), turned(d * 20, -1.0f);
    const float* block = rows.block(5, 7, scratch.data());
    CHECK((block == data.data() + 5 * d) == !moved);
    for (int64_t i = 0; i < 7; ++i) {
      for (int64_t k = 0; k < d; ++k) CHECK(block[i * d + k] == expected(5 + i, k));
    }
    for (const bool scaled : {false, true}) {
      rows.transposed(2, 17, scaled ? factor.data() + 2 : nullptr, strip.data(), turned.data(), 20);
      for (int64_t k = 0; k < d; ++k) {
        for (int64_t i = 0; i < 17; ++i) {
          CHECK(turned[k * 20 + i] == expected(2 + i, k) * (scaled ? factor[2 + i] : 1.0f));
        }
        CHECK(turned[k * 20 + 17] == -1.0f);
      }
    }
  }
}

// 16-bit rows: converted where they are read, moved in pairs where they are multiplied as stored.
template <class Half>
void test_half() {
  const int64_t count = 21, d = 10, rows = 13;
  std::vector<Half> data(count * d);
  for (size_t i = 0; i < data.size(); ++i) data[i] = Half::round(0.37f * static_cast<float>(i) - 9);
  const Operand<Half, float> operand{data.data(), count, d};
  CHECK(!operand.in_place() && operand.has_pairs());
  CHECK(!(Operand<Half, float>{data.data() + 1, 2, d}).has_pairs());  // words would not be aligned
  CHECK(!(Operand<Half, float>{data.data(), 2, d - 1}).has_pairs());
  std::vector<float> scratch(rows * d), strip(8 * d), turned(d * 16);
  const float* block = operand.block(5, rows, scratch.data());
  operand.transposed(5, rows, nullptr, strip.data(), turned.data(), 16);
  std::vector<Half> pairs(d * 16, Half{7});
  operand.pairs_transposed(5, rows, pairs.data(), 16);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < d; ++k) {
      const Half stored = data[(5 + i) * d + k];
      CHECK(block[i * d + k] == static_cast<float>(stored));
      CHECK(turned[k * 16 + i] == static_cast<float>(stored));
      CHECK(pairs[k / 2 * 32 + 2 * i + k % 2].bits == stored.bits);
    }
  }
  CHECK(pairs[2 * rows].bits == 7);
}

int main() {
  test_half<BFloat16>();
  test_half<Float16>();
  for (const int64_t rows : {1, 7, 8, 9, 16, 33}) {
    for (const int64_t cols : {1, 8, 15, 64}) {
      test_transpose<float>(rows, cols);
      test_transpose<double>(rows, cols);
    }
  }
  test_rows();
  return test::report();
}
