// The emulator's primitives against definitions written another way round: which lane and register
// hold the element of a matrix (figures of the PTX ISA), not which element a lane's register holds.
//
// quick: plain address thread
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <stdexcept>

#include "check.h"
#include "cuda/launch.h"
#include "plain_runtime.h"
#include "sanitized.h"

using namespace fastloss;
using namespace fastloss::device;
using emulator::download;
using emulator::PlainRuntime;
using emulator::Uploaded;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// ---- places

FASTLOSS_KERNEL(96, 1) void places(int64_t* out) {
  const int64_t at = ((block().y * blocks().x + block().x) * threads() + thread()) * 4;
  out[at] = thread();
  out[at + 1] = lane();
  out[at + 2] = warp();
  out[at + 3] = blocks().y * 1000 + threads();
}

void test_places() {
  PlainRuntime runtime;
  const Buffer<int64_t> out(runtime, 2 * 3 * 96 * 4);
  launch(places, Grid{2, 3}, 96, runtime.queue(), out.data());
  const auto got = download(out);
  for (int i = 0; i < 2 * 3 * 96; ++i) {
    const int thread = i % 96;
    CHECK(got[4 * i] == thread && got[4 * i + 1] == (thread & 31) && got[4 * i + 2] == thread >> 5);
    CHECK(got[4 * i + 3] == 3096);
  }
}

void test_grids() {
  PlainRuntime runtime;
  const Buffer<int64_t> out(runtime, 96 * 4);
  for (const Grid grid : {Grid{-1, 1}, Grid{1, -1}, Grid{int64_t{1} << 31, 1}, Grid{1, 65536}}) {
    bool refused = false;
    try {
      launch(places, grid, 96, runtime.queue(), out.data());
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
  }
  launch(places, Grid{0, 1}, 96, runtime.queue(), out.data());  // no block, no thread
  for (const int64_t value : download(out)) CHECK(value == -1);
}

// ---- exchanges

struct Pair {
  double value;
  int64_t index;
};

FASTLOSS_KERNEL(64, 1) void exchanges(Pair* out, uint32_t* bits) {
  const Pair own{thread() + 0.5, -thread()};
  out[thread()] = shuffle(own, (lane() * 7 + 3) % 32);
  out[64 + thread()] = shuffle_down(own, 5);
  out[128 + thread()] = shuffle_xor(own, 17);
  bits[thread()] = ballot(thread() % 3 == 0);
}

void test_exchanges() {
  PlainRuntime runtime;
  const Buffer<Pair> out(runtime, 3 * 64);
  const Buffer<uint32_t> bits(runtime, 64);
  launch(exchanges, Grid{1}, 64, runtime.queue(), out.data(), bits.data());
  const auto got = download(out);
  const auto ballots = download(bits);
  for (int i = 0; i < 64; ++i) {
    const int first = i / 32 * 32, lane = i % 32;
    const int from[3] = {first + (lane * 7 + 3) % 32, lane + 5 < 32 ? i + 5 : i,
                         first + (lane ^ 17)};
    for (int k = 0; k < 3; ++k) {
      CHECK(got[64 * k + i].value == from[k] + 0.5 && got[64 * k + i].index == -from[k]);
    }
    uint32_t expected = 0;
    for (int l = 0; l < 32; ++l) expected |= (first + l) % 3 == 0 ? 1u << l : 0;
    CHECK(ballots[i] == expected);
  }
}

// ---- matrices

struct Slot {
  int lane, value;  // of the lane's values, in the order of its registers
};

// 16-bit a: quadrants of 8 × 8 in the order upper left, lower left, upper right, lower right; in
// each a row belongs to four lanes, two columns to each.
Slot slot_a(int row, int col, bool wide) {
  const int quadrant = row / 8 + 2 * (col / (wide ? 4 : 8));
  if (wide) return {row % 8 * 4 + col % 4, quadrant};
  return {row % 8 * 4 + col % 8 / 2, 2 * quadrant + col % 2};
}
Slot slot_b(int row, int col, bool wide) {
  if (wide) return {col * 4 + row % 4, row / 4};
  return {col * 4 + row % 8 / 2, row / 8 * 2 + row % 2};
}
Slot slot_c(int row, int col) { return {row % 8 * 4 + col / 2, row / 8 * 2 + col % 2}; }

template <class In>
FASTLOSS_KERNEL(32, 1)
void product(const uint32_t* a, const uint32_t* b, float* c) {
  uint32_t left[4], right[2];
  float sums[4];
  for (int i = 0; i < 4; ++i) left[i] = a[4 * lane() + i];
  for (int i = 0; i < 2; ++i) right[i] = b[2 * lane() + i];
  for (int i = 0; i < 4; ++i) sums[i] = c[4 * lane() + i];
  multiply<In>(sums, left, right);
  for (int i = 0; i < 4; ++i) c[4 * lane() + i] = sums[i];
}

template <class In>
void put(std::vector<uint32_t>& registers, int per_lane, Slot slot, float value) {
  if constexpr (sizeof(In) == 2) {
    uint32_t& word = registers[static_cast<size_t>(slot.lane * per_lane + slot.value / 2)];
    word |= uint32_t{In::round(value).bits} << (16 * (slot.value % 2));
  } else {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    registers[static_cast<size_t>(slot.lane * per_lane + slot.value)] = bits | 0x1abc;  // not read
  }
}

// Small whole numbers: every order of additions gives the same sum.
template <class In>
void test_product() {
  constexpr bool kWide = sizeof(In) != 2;
  constexpr int kInner = kWide ? 8 : 16;
  std::mt19937 random(7);
  const auto whole = [&] { return static_cast<float>(static_cast<int>(random() % 15) - 7); };
  float a[16][kInner], b[kInner][8], c[16][8];
  std::vector<uint32_t> left(128, 0), right(64, 0);
  std::vector<float> sums(128);
  std::set<std::pair<int, int>> taken;
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < kInner; ++k) put<In>(left, 4, slot_a(i, k, kWide), a[i][k] = whole());
    for (int j = 0; j < 8; ++j) {
      const Slot slot = slot_c(i, j);
      taken.insert({slot.lane, slot.value});
      sums[static_cast<size_t>(4 * slot.lane + slot.value)] = c[i][j] = whole();
    }
  }
  CHECK(taken.size() == 128);
  for (int k = 0; k < kInner; ++k) {
    for (int j = 0; j < 8; ++j) put<In>(right, 2, slot_b(k, j, kWide), b[k][j] = whole());
  }
  PlainRuntime runtime;
  const Uploaded<uint32_t> device_a(runtime, left), device_b(runtime, right);
  const Uploaded<float> device_c(runtime, sums);
  launch(product<In>, Grid{1}, 32, runtime.queue(), device_a.data(), device_b.data(),
         device_c.data());
  const auto got = download(device_c);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      for (int k = 0; k < kInner; ++k) c[i][j] += a[i][k] * b[k][j];
      const Slot slot = slot_c(i, j);
      CHECK(got[static_cast<size_t>(4 * slot.lane + slot.value)] == c[i][j]);
    }
  }
}

// As kernels use them: both operands row by row in shared memory, loaded by ldmatrix.
FASTLOSS_KERNEL(32, 1) void loaded_product(const uint16_t* a, const uint16_t* b, float* c) {
  FASTLOSS_SHARED(uint16_t, left, 16 * 16);   // rows of a
  FASTLOSS_SHARED(uint16_t, right, 16 * 16);  // columns of b, of two products
  for (int i = thread(); i < 256; i += threads()) {
    left[i] = a[i];
    right[i] = b[i];
  }
  barrier();
  uint32_t in_a[4], in_b[4];
  load_matrices(in_a, left + lane() % 16 * 16 + lane() / 16 * 8);
  load_matrices(in_b, right + (lane() % 8 + lane() / 16 * 8) * 16 + lane() / 8 % 2 * 8);
  for (int half = 0; half < 2; ++half) {
    float sums[4] = {};
    const uint32_t part[2] = {in_b[2 * half], in_b[2 * half + 1]};
    multiply<BFloat16>(sums, in_a, part);
    for (int i = 0; i < 4; ++i) {
      c[(lane() / 4 + i / 2 * 8) * 16 + half * 8 + lane() % 4 * 2 + i % 2] = sums[i];
    }
  }
}

void test_loaded_product() {
  std::mt19937 random(11);
  std::vector<uint16_t> a(256), b(256);
  for (auto* matrix : {&a, &b}) {
    for (uint16_t& value : *matrix) {
      value = BFloat16::round(static_cast<float>(random() % 9) - 4).bits;
    }
  }
  PlainRuntime runtime;
  const Uploaded<uint16_t> left(runtime, a), right(runtime, b);
  const Buffer<float> out(runtime, 256);
  launch(loaded_product, Grid{1}, 32, runtime.queue(), left.data(), right.data(), out.data());
  const auto got = download(out);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) {
        sum += static_cast<float>(BFloat16{a[static_cast<size_t>(i * 16 + k)]}) *
               static_cast<float>(BFloat16{b[static_cast<size_t>(j * 16 + k)]});
      }
      CHECK(got[static_cast<size_t>(i * 16 + j)] == sum);
    }
  }
}

// ---- tf32

void test_tf32() {
  const auto rounded = [](float value) {
    float result;
    const uint32_t bits = to_tf32(value);
    CHECK((bits & 0x1fff) == 0 || std::isnan(value));
    std::memcpy(&result, &bits, sizeof result);
    return result;
  };
  std::mt19937 random(5);
  for (int i = 0; i < 100000; ++i) {
    const double value = std::ldexp(1 + static_cast<double>(random() >> 9) * 0x1p-23,
                                    static_cast<int>(random() % 200) - 100);
    const double unit = std::ldexp(1.0, std::ilogb(value) - 10);
    const double expected = std::floor(value / unit + 0.5) * unit;  // away from zero
    CHECK(rounded(static_cast<float>(value)) == expected);
    CHECK(rounded(static_cast<float>(-value)) == -expected);
  }
  CHECK(rounded(1 + 0x1p-11f) == 1 + 0x1p-10f);
  CHECK(rounded(1 + 0x1p-11f - 0x1p-23f) == 1);
  CHECK(std::isinf(rounded(std::numeric_limits<float>::max())));
  CHECK(std::isinf(rounded(std::numeric_limits<float>::infinity())));
  CHECK(std::isnan(rounded(kNan)));
}

// ---- copies

FASTLOSS_KERNEL(32, 1) void groups(const float* in, float* out) {
  FASTLOSS_SHARED(float, staged, 3 * 4 * 32);
  for (int group = 0; group < 3; ++group) {
    copy_async(staged + (32 * group + thread()) * 4, in + 4 * thread(), 4 * (group + 1));
    commit_copies();
  }
  commit_copies();  // an empty one is a group
  wait_copies<2>();
  for (int i = 0; i < 4; ++i) out[4 * thread() + i] = staged[(32 + thread()) * 4 + i];
  wait_copies<0>();
  for (int i = 0; i < 4; ++i) out[128 + 4 * thread() + i] = staged[(64 + thread()) * 4 + i];
}

void test_copies() {
  PlainRuntime runtime;
  std::vector<float> values(128);
  for (size_t i = 0; i < 128; ++i) values[i] = static_cast<float>(i + 1);
  const Uploaded<float> in(runtime, values);
  const Buffer<float> out(runtime, 256);
  launch(groups, Grid{1}, 32, runtime.queue(), in.data(), out.data());
  const auto got = download(out);
  for (size_t i = 0; i < 128; ++i) {
    CHECK(got[i] == (i % 4 < 2 ? values[i] : 0));        // of 8 bytes
    CHECK(got[128 + i] == (i % 4 < 3 ? values[i] : 0));  // of 12
  }
}

// ---- shared memory

template <int kNumber>
float* numbers() {
  FASTLOSS_SHARED(float, one, 1);
  return one;
}

FASTLOSS_KERNEL(64, 1) void arrays(float* out) {
  FASTLOSS_SHARED(float, first, 64);
  const bool fresh = std::isnan(first[thread()]) && std::isnan(*numbers<1>());
  barrier();
  first[thread()] = 1;
  if (thread() == 0) *numbers<1>() = 1;
  if (thread() == 1) *numbers<2>() = 2;
  barrier();
  float sum = *numbers<1>() + 10 * *numbers<2>();
  for (int i = 0; i < 3; ++i) {
    FASTLOSS_SHARED(float, again, 64);
    if (i == 0) again[thread()] = 100;
    sum += again[thread()];
  }
  out[block().x * 64 + thread()] = fresh ? sum : -1;
}

void test_arrays() {
  PlainRuntime runtime;
  const Buffer<float> out(runtime, 3 * 64);
  launch(arrays, Grid{3}, 64, runtime.queue(), out.data());
  for (const float value : download(out)) CHECK(value == 1 + 20 + 300);
}

// ---- order

int64_t counter = 0;  // a race, on purpose

FASTLOSS_KERNEL(64, 1) void turns(int64_t* out) { out[block().x * 64 + thread()] = counter++; }

std::vector<int64_t> order_of(uint64_t seed) {
  PlainRuntime runtime;
  const Buffer<int64_t> out(runtime, 4 * 64);
  emulator::seed(seed);
  counter = 0;
  launch(turns, Grid{4}, 64, runtime.queue(), out.data());
  const emulator::DeviceAccess access;  // no download: this is not the same in every order
  return {out.data(), out.data() + out.size()};
}

void test_order() {
  const auto order = order_of(3);
  CHECK(order == order_of(3) && order != order_of(4));
  for (int block = 0; block < 4; ++block) {  // one block at a time
    std::set<int64_t> turns(order.begin() + 64 * block, order.begin() + 64 * (block + 1));
    CHECK(turns.size() == 64 && *turns.rbegin() - *turns.begin() == 63);
  }
}

// ---- the runtime

template <class S, class T>
void test_runtime(StoredType type, int64_t rows, int64_t inner, int64_t cols, bool flip_a,
                  bool flip_b, bool keep) {
  std::mt19937 random(3);
  const auto matrix = [&](int64_t height, int64_t width) {
    std::vector<S> values(static_cast<size_t>(height * (width + 3)));
    for (S& value : values) {
      value = round_to<S>(static_cast<T>(static_cast<int>(random() % 17) - 8));
    }
    return values;
  };
  const auto a = matrix(flip_a ? inner : rows, flip_a ? rows : inner);
  const auto b = matrix(flip_b ? cols : inner, flip_b ? inner : cols);
  std::vector<T> before(static_cast<size_t>(rows * (cols + 2)), keep ? T(5) : static_cast<T>(kNan));
  PlainRuntime runtime;
  const Uploaded<S> left(runtime, a), right(runtime, b);
  const Uploaded<T> out(runtime, before);
  Matrix ma{left.data(), type, flip_a ? inner : rows, flip_a ? rows : inner, 0};
  Matrix mb{right.data(), type, flip_b ? cols : inner, flip_b ? inner : cols, 0};
  ma.stride = ma.cols + 3;
  mb.stride = mb.cols + 3;
  runtime.multiply(flip_a ? ma.flipped() : ma, flip_b ? mb.flipped() : mb, out.data(), cols + 2,
                   keep);
  CHECK(runtime.multiply_adds() == rows * inner * cols);
  const auto got = download(out);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double sum = keep ? 5 : 0;
      for (int64_t k = 0; k < inner; ++k) {
        const int64_t at_a = flip_a ? k * ma.stride + i : i * ma.stride + k;
        const int64_t at_b = flip_b ? j * mb.stride + k : k * mb.stride + j;
        sum += static_cast<double>(a[static_cast<size_t>(at_a)]) *
               static_cast<double>(b[static_cast<size_t>(at_b)]);
      }
      CHECK(static_cast<double>(got[static_cast<size_t>(i * (cols + 2) + j)]) == sum);
    }
    for (int64_t j = cols; j < cols + 2; ++j) {
      const T beside = got[static_cast<size_t>(i * (cols + 2) + j)];
      CHECK(keep ? beside == 5 : std::isnan(beside));
    }
  }
}

void test_products() {
  for (int bits = 0; bits < 8; ++bits) {
    const bool a = bits & 1, b = bits & 2, keep = bits & 4;
    test_runtime<float, float>(StoredType::kFloat, 5, 7, 3, a, b, keep);
    test_runtime<double, double>(StoredType::kDouble, 4, 1, 9, a, b, keep);
    test_runtime<BFloat16, float>(StoredType::kBFloat16, 3, 33, 2, a, b, keep);
    test_runtime<Float16, float>(StoredType::kFloat16, 1, 8, 8, a, b, keep);
    test_runtime<float, float>(StoredType::kFloat, 0, 4, 3, a, b, keep);
    test_runtime<float, float>(StoredType::kFloat, 2, 0, 3, a, b, keep);
    test_runtime<float, float>(StoredType::kFloat, 2, 4, 0, a, b, keep);
  }
}

void test_memory() {
  PlainRuntime runtime;
  {
    const Buffer<double> a(runtime, 10);
    CHECK(runtime.bytes_live() == 80);
    {
      const Buffer<float> b(runtime, 100);
    }
    const Buffer<float> empty(runtime, 0);
    CHECK(runtime.bytes_live() == 80 && runtime.bytes_peak() == 480);
    CHECK(reinterpret_cast<uintptr_t>(a.data()) % 256 == 0);
    for (const double value : download(a)) CHECK(std::isnan(value));
    runtime.restart_peak();
    CHECK(runtime.bytes_peak() == 80);
  }
  CHECK(runtime.bytes_live() == 0);
}

}  // namespace

int main() {
  test_places();
  test_grids();
  test_exchanges();
  test_product<BFloat16>();
  test_product<Float16>();
  test_product<TF32>();
  test_loaded_product();
  test_tf32();
  test_copies();
  test_arrays();
  if constexpr (!kForRaces) test_order();
  test_products();
  test_memory();
  return test::report();
}
