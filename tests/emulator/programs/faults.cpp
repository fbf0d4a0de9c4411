// Kernels with one bug each, and their clean twins: the emulator must report the one and stay
// silent about the other. Without an argument, lists them: name, builds that must report it, and
// what the report says. With a name, runs that one. tests/test_emulator.py does both.
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cuda/launch.h"
#include "plain_runtime.h"

using namespace fastloss;
using namespace fastloss::device;
using emulator::PlainRuntime;
using emulator::Uploaded;

constexpr int kThreads = 64;

// Values 0, 1, 2 … on the device, and a result of as many.
struct Data {
  PlainRuntime runtime;
  Uploaded<float> in;
  Buffer<float> out;

  explicit Data(int count = 1024) : in(runtime, values(count)), out(runtime, count) {}

  static std::vector<float> values(int count) {
    std::vector<float> result(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) result[static_cast<size_t>(i)] = static_cast<float>(i);
    return result;
  }
  void expect(int index, float value) const {
    const float got = emulator::download(out)[static_cast<size_t>(index)];
    if (got == value) return;
    throw std::runtime_error("a wrong value: " + std::to_string(got) + ", not " +
                             std::to_string(value));
  }
};

template <class... Parameters, class... Arguments>
void start(void (*kernel)(Parameters...), Arguments... arguments) {
  launch(kernel, Grid{1}, kThreads, Queue{}, arguments...);
}

// ---- barriers

template <bool kBarrier>
FASTLOSS_KERNEL(kThreads, 1)
void neighbour(const float* in, float* out) {
  FASTLOSS_SHARED(float, staged, kThreads);
  staged[thread()] = in[thread()];
  if (kBarrier) barrier();
  out[thread()] = staged[(thread() + 1) % kThreads];
}
template <bool kBarrier>
void run_neighbour() {
  Data data;
  start(neighbour<kBarrier>, data.in.data(), data.out.data());
  data.expect(0, 1);
  data.expect(kThreads - 1, 0);
}

// The missing barrier leaves the values right in most orders: a round overwrites what slower
// threads still read.
template <bool kBarrier>
FASTLOSS_KERNEL(kThreads, 1)
void rounds(float* out) {
  FASTLOSS_SHARED(float, staged, 2 * kThreads);
  float sum = 0;
  for (int round = 0; round < 6; ++round) {
    float* const half = staged + (kBarrier ? 0 : round % 2 * kThreads);
    half[thread()] = 1;
    barrier();
    sum += half[thread() ^ 1];
    if (kBarrier) barrier();
  }
  out[thread()] = sum;
}
// One buffer, and no barrier before it is written again.
FASTLOSS_KERNEL(kThreads, 1) void rounds_open(float* out) {
  FASTLOSS_SHARED(float, staged, kThreads);
  float sum = 0;
  for (int round = 0; round < 6; ++round) {
    staged[thread()] = 1;
    barrier();
    sum += staged[thread() ^ 1];
  }
  out[thread()] = sum;
}
template <bool kBarrier>
void run_rounds() {
  Data data;
  start(rounds<kBarrier>, data.out.data());
  data.expect(5, 6);
}
void run_rounds_open() {
  Data data;
  start(rounds_open, data.out.data());
  data.expect(5, 6);
}

FASTLOSS_KERNEL(kThreads, 1) void barrier_in_branch() {
  if (thread() < 40) barrier();
}
FASTLOSS_KERNEL(kThreads, 1) void barrier_by_warps() {
  if (warp() == 0) {
    barrier();
  } else {
    barrier();
  }
}
FASTLOSS_KERNEL(kThreads, 1) void early_exit(int count) {
  if (thread() >= count) return;
  barrier();
}
FASTLOSS_KERNEL(kThreads, 1) void more_barriers_here() {
  for (int i = 0; i < 3 + (warp() == 1); ++i) barrier();
}
FASTLOSS_KERNEL(kThreads, 1) void barrier_against_warp() {
  if (lane() == 7) {
    barrier();
  } else {
    warp_barrier();
  }
}

// ---- warps

template <bool kBarrier>
FASTLOSS_KERNEL(kThreads, 1)
void lanes_in_turn(float* out) {
  FASTLOSS_SHARED(float, staged, kThreads);
  staged[thread()] = static_cast<float>(lane());
  if (kBarrier) {
    warp_barrier();
  } else {
    (void)shuffle(1, 0);  // it brings the lanes together and orders nothing
  }
  out[thread()] = staged[warp() * kWarp + (lane() ^ 3)];
}
template <bool kBarrier>
void run_lanes_in_turn() {
  Data data;
  start(lanes_in_turn<kBarrier>, data.out.data());
  data.expect(33, 2);
}
// A warp's barrier does not order two warps.
FASTLOSS_KERNEL(kThreads, 1) void warps_in_turn(float* out) {
  FASTLOSS_SHARED(float, staged, kThreads);
  staged[thread()] = 1;
  warp_barrier();
  out[thread()] = staged[thread() ^ kWarp];
}
void run_warps_in_turn() {
  Data data;
  start(warps_in_turn, data.out.data());
}

FASTLOSS_KERNEL(kThreads, 1) void shuffle_in_branch() {
  if (lane() < 16) (void)shuffle(lane(), 0);
}
FASTLOSS_KERNEL(kThreads, 1) void shuffle_on_both_sides() {
  if (lane() < 16) {
    (void)shuffle(lane(), 0);
  } else {
    (void)shuffle(lane(), 0);
  }
}
FASTLOSS_KERNEL(kThreads, 1) void ballot_after_exit() {
  if (lane() == 31) return;
  (void)ballot(true);
}
FASTLOSS_KERNEL(kThreads, 1) void shuffle_from_beyond() { (void)shuffle(lane(), lane() + 1); }
FASTLOSS_KERNEL(kThreads, 1) void product_in_branch() {
  float c[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (lane() != 3) multiply<TF32>(c, a, b);
}

// ---- memory

FASTLOSS_KERNEL(kThreads, 1) void shared_index(int beyond) {
  FASTLOSS_SHARED(float, staged, kThreads);
  staged[thread() + beyond] = 0;
}
FASTLOSS_KERNEL(kThreads, 1) void global_index(float* out, int64_t at) {
  if (thread() == 0) out[at] = 0;
}
void run_global_index(int64_t at) {
  Data data;
  start(global_index, data.out.data(), at);
}
FASTLOSS_KERNEL(kThreads, 1) void misaligned_read(const float* in, float* out, int at) {
  if (thread() == 0) out[0] = static_cast<float>(*reinterpret_cast<const double*>(in + at));
}
void run_misaligned_read(int at) {
  Data data;
  start(misaligned_read, data.in.data(), data.out.data(), at);
}
template <bool kFirst>
FASTLOSS_KERNEL(kThreads, 1)
void unwritten(float* out) {
  FASTLOSS_SHARED(float, sums, 2);
  if (thread() == 0 && kFirst) sums[0] = 0;
  barrier();
  if (thread() == 0) out[0] = sums[0];
}
// What the block before left is not there.
template <bool kFirst>
void run_unwritten() {
  Data data;
  start(unwritten<kFirst>, data.out.data());
  data.expect(0, 0);
}
FASTLOSS_KERNEL(kThreads, 1) void much_shared(float* out) {
  FASTLOSS_SHARED(float, first, 6 * 1024);
  FASTLOSS_SHARED(float, second, 6 * 1024 + 4);
  out[thread()] = first[0] + second[0];
}
void run_much_shared() {
  Data data;
  start(much_shared, data.out.data());
}
FASTLOSS_KERNEL(kThreads, 1) void two_sizes() {
  for (int i = 1; i < 3; ++i) {
    FASTLOSS_SHARED(float, staged, i);
    (void)staged;
  }
}

// ---- blocks

FASTLOSS_KERNEL(kThreads, 1) void block_sums(float* out, int64_t stride) {
  if (thread() == 0) out[block().x * stride] = 1;
}
void run_block_sums(int64_t stride) {
  Data data;
  launch(block_sums, Grid{4}, kThreads, Queue{}, data.out.data(), stride);
  launch(block_sums, Grid{4}, kThreads, Queue{}, data.out.data(), stride);  // launches are ordered
  data.expect(0, 1);
}
FASTLOSS_KERNEL(kThreads, 1) void block_reads(float* out, int64_t away) {
  const int64_t self = block().y * blocks().x + block().x;
  if (thread() == 0) out[self] = 1;
  if (thread() == 1) out[16 + self] = out[32 + self + away];
  if (thread() == 2) out[32 + self] = 1;
  barrier();
}
void run_block_reads(int64_t away) {
  Data data;
  launch(block_reads, Grid{2, 3}, kThreads, Queue{}, data.out.data(), away);
}

// ---- copies

template <int kPending, bool kCommit, bool kBarrier, int kBytes, int kFrom, int kTo>
FASTLOSS_KERNEL(kThreads, 1)
void copies(const float* in, float* out) {
  FASTLOSS_SHARED(float, first, 4 * kThreads + 4);
  FASTLOSS_SHARED(float, second, 4 * kThreads);
  copy_async(first + 4 * thread() + kTo, in + 4 * thread() + kFrom, kBytes);
  commit_copies();
  copy_async(second + 4 * thread(), in + 4 * thread(), 16);
  if (kCommit) commit_copies();
  wait_copies<1>();
  barrier();
  out[thread()] = first[4 * (kThreads - 1 - thread())];
  wait_copies<kPending>();
  if (kBarrier) barrier();
  out[kThreads + thread()] = second[4 * (kBarrier ? kThreads - 1 - thread() : thread() ^ 1) + 1];
}
template <int kPending, bool kCommit, bool kBarrier, int kBytes = 16, int kFrom = 0, int kTo = 0>
void run_copies() {
  Data data;
  start(copies<kPending, kCommit, kBarrier, kBytes, kFrom, kTo>, data.in.data(), data.out.data());
  data.expect(0, 4 * (kThreads - 1));
  data.expect(kThreads, 4 * (kThreads - 1) + 1);
}
FASTLOSS_KERNEL(kThreads, 1) void copy_is_read(const float* in, float* out, bool early) {
  FASTLOSS_SHARED(float, staged, 4 * kThreads);
  float* const own = staged + 4 * thread();
  copy_async(own, in + 4 * thread(), 12);
  commit_copies();
  if (early) out[thread()] = own[1];
  wait_copies<0>();
  if (!early) out[thread()] = own[1] + own[3];  // the rest is 0
}
void run_copy_is_read(bool early) {
  Data data;
  start(copy_is_read, data.in.data(), data.out.data(), early);
  data.expect(1, 5);
}
FASTLOSS_KERNEL(kThreads, 1) void copy_to_read_place(const float* in, float* out, bool ordered) {
  FASTLOSS_SHARED(float, staged, 4 * kThreads);
  for (int i = 0; i < 4; ++i) staged[4 * thread() + i] = 1;
  barrier();
  out[thread()] = staged[4 * (thread() ^ 1)];
  if (ordered) barrier();
  copy_async(staged + 4 * thread(), in, 16);
  commit_copies();
  wait_copies<0>();
}
void run_copy_to_read_place(bool ordered) {
  Data data;
  start(copy_to_read_place, data.in.data(), data.out.data(), ordered);
}
FASTLOSS_KERNEL(kThreads, 1) void copy_to_global(const float* in, float* out) {
  if (thread() == 0) copy_async(out, in, 16);
}
void run_copy_to_global() {
  Data data;
  start(copy_to_global, data.in.data(), data.out.data());
}
FASTLOSS_KERNEL(kThreads, 1) void copies_to_one_place(const float* in) {
  FASTLOSS_SHARED(float, staged, 4);
  copy_async(staged, in, 16);
  commit_copies();
  wait_copies<0>();
}
void run_copies_to_one_place() {
  Data data;
  start(copies_to_one_place, data.in.data());
}
FASTLOSS_KERNEL(kThreads, 1) void copy_of_changed(float* in) {
  FASTLOSS_SHARED(float, staged, 4 * kThreads);
  copy_async(staged + 4 * thread(), in + 4 * thread(), 16);
  commit_copies();
  in[4 * thread()] = -1;
  wait_copies<0>();
}
void run_copy_of_changed() {
  Data data;
  start(copy_of_changed, data.in.data());
}
// The last row of an array that ends within 16 bytes: `bytes` keeps the copy inside.
FASTLOSS_KERNEL(kThreads, 1) void copy_of_end(const float* in, int bytes) {
  FASTLOSS_SHARED(float, staged, 4);
  if (thread()) return;
  copy_async(staged, in + 4, bytes);
  commit_copies();
  wait_copies<0>();
}
void run_copy_of_end(int bytes) {
  Data data(6);
  start(copy_of_end, data.in.data(), bytes);
}
FASTLOSS_KERNEL(kThreads, 1) void matrix_rows(uint32_t* out, int by, bool ordered) {
  FASTLOSS_SHARED(uint16_t, rows, 8 * 32);
  for (int i = thread(); i < 8 * 32; i += threads()) rows[i] = static_cast<uint16_t>(i);
  if (ordered) barrier();
  uint32_t parts[4];
  load_matrices(parts, rows + 8 * lane() + by);
  out[thread()] = parts[0];
}
void run_matrix_rows(int by, bool ordered) {
  Data data;
  start(matrix_rows, reinterpret_cast<uint32_t*>(data.out.data()), by, ordered);
}

// ---- the host

void run_host_reads(bool directly) {
  Data data;
  const float value = directly ? data.in.data()[3] : emulator::download(data.in)[3];
  if (value != 3) throw std::runtime_error("a wrong value");
}
FASTLOSS_KERNEL(kThreads, 1) void reads(const float* in, float* out) { out[thread()] = *in; }
void run_host_address() {
  Data data;
  const float on_stack = 1;
  start(reads, &on_stack, data.out.data());
}
void run_after_free() {
  Data data;
  const float* volatile freed = nullptr;
  {
    const Buffer<float> buffer(data.runtime, 4);
    freed = buffer.data();
  }
  start(reads, static_cast<const float*>(freed), data.out.data());
}
void run_odd_block() { launch(barrier_by_warps, Grid{1}, 48, Queue{}); }
void run_large_grid() { launch(barrier_by_warps, Grid{1, 65536}, 32, Queue{}); }
void run_empty_grid() { launch(barrier_by_warps, Grid{0, 5}, 32, Queue{}); }

struct Case {
  const char* name;
  void (*run)();
  const char* builds;  // that must report it; in the others it may pass
  const char* report;
};

constexpr const char* kAll = "plain,address,thread";
constexpr const char* kRace = "data race";

const Case kCases[] = {
    {"clean: barrier", run_neighbour<true>, "", ""},
    {"missing barrier", run_neighbour<false>, "thread", kRace},
    {"clean: rounds, two barriers", run_rounds<true>, "", ""},
    {"clean: rounds, two buffers", run_rounds<false>, "", ""},
    {"rounds, one of each", run_rounds_open, "thread", kRace},
    {"barrier in a branch", [] { start(barrier_in_branch); }, kAll, "divergent"},
    {"barrier of each warp", [] { start(barrier_by_warps); }, kAll, "divergent block"},
    {"clean: no early exit", [] { start(early_exit, kThreads); }, "", ""},
    {"early exit of a lane", [] { start(early_exit, kThreads - 1); }, kAll, "divergent"},
    {"early exit of a warp", [] { start(early_exit, kWarp); }, kAll, "divergent block"},
    {"one barrier more", [] { start(more_barriers_here); }, kAll, "divergent block"},
    {"barrier against warp", [] { start(barrier_against_warp); }, kAll, "divergent warp"},
    {"clean: warp barrier", run_lanes_in_turn<true>, "", ""},
    {"missing warp barrier", run_lanes_in_turn<false>, "thread", kRace},
    {"warp barrier between warps", run_warps_in_turn, "thread", kRace},
    {"shuffle in a branch", [] { start(shuffle_in_branch); }, kAll, "divergent warp"},
    {"shuffle on both sides", [] { start(shuffle_on_both_sides); }, kAll, "divergent warp"},
    {"ballot after an exit", [] { start(ballot_after_exit); }, kAll, "divergent warp"},
    {"shuffle from beyond", [] { start(shuffle_from_beyond); }, kAll, "a lane that is none"},
    {"product in a branch", [] { start(product_in_branch); }, kAll, "divergent warp"},
    {"clean: shared index", [] { start(shared_index, 0); }, "", ""},
    {"shared index", [] { start(shared_index, 1); }, "address", "heap-buffer-overflow"},
    {"clean: global index", [] { run_global_index(1023); }, "", ""},
    {"global index", [] { run_global_index(1024); }, "address", "heap-buffer-overflow"},
    {"clean: aligned read", [] { run_misaligned_read(2); }, "", ""},
    {"misaligned read", [] { run_misaligned_read(1); }, "address", "misaligned address"},
    {"clean: written sum", run_unwritten<true>, "", ""},
    {"unwritten sum", run_unwritten<false>, kAll, "a wrong value: -?nan"},
    {"much shared memory", run_much_shared, kAll, "more than 48 KB"},
    {"array of two sizes", [] { start(two_sizes); }, kAll, "two sizes"},
    {"clean: blocks apart", [] { run_block_sums(1); }, "", ""},
    {"blocks to one place", [] { run_block_sums(0); }, "thread", kRace},
    {"clean: blocks read apart", [] { run_block_reads(64); }, "", ""},
    {"block reads another's", [] { run_block_reads(1); }, "thread", kRace},
    {"clean: copies", run_copies<0, true, true>, "", ""},
    {"wrong wait count", run_copies<1, true, true>, kAll, "copies under way|poison"},
    {"copy not committed", run_copies<0, false, true>, kAll, "copies under way|poison|race"},
    {"copy without barrier", run_copies<0, true, false>, "thread", kRace},
    {"copy of 17 bytes", run_copies<0, true, true, 17>, kAll, "0 to 16 bytes"},
    {"copy from odd place", run_copies<0, true, true, 16, 1>, kAll, "from a misaligned place"},
    {"copy to odd place", run_copies<0, true, true, 16, 0, 1>, kAll, "at a misaligned place"},
    {"clean: copy is read after", [] { run_copy_is_read(false); }, "", ""},
    {"copy is read before", [] { run_copy_is_read(true); }, kAll, "a wrong value|poison"},
    {"clean: copy over what was read", [] { run_copy_to_read_place(true); }, "", ""},
    {"copy over what is read", [] { run_copy_to_read_place(false); }, "thread", kRace},
    {"copy to global memory", run_copy_to_global, kAll, "outside shared memory"},
    {"copies to one place", run_copies_to_one_place, kAll, "two copies|race"},
    {"source changes", run_copy_of_changed, kAll, "changed"},
    {"clean: copy of the end", [] { run_copy_of_end(8); }, "", ""},
    {"copy past the end", [] { run_copy_of_end(16); }, "address", "heap-buffer-overflow"},
    {"clean: matrix rows", [] { run_matrix_rows(0, true); }, "", ""},
    {"odd matrix rows", [] { run_matrix_rows(1, true); }, kAll, "a matrix row at a misaligned"},
    {"matrix rows beyond", [] { run_matrix_rows(8, true); }, kAll, "a matrix row outside"},
    {"matrix rows early", [] { run_matrix_rows(0, false); }, "thread", kRace},
    {"clean: host downloads", [] { run_host_reads(false); }, "", ""},
    {"host reads directly", [] { run_host_reads(true); }, "address", "use-after-poison"},
    {"address of the host", run_host_address, kAll, "address on the stack"},
    {"memory that was freed", run_after_free, "address", "heap-use-after-free"},
    {"block of 48 threads", run_odd_block, kAll, "a block of 48 threads"},
    {"grid too large", run_large_grid, kAll, "cannot be launched"},
    {"clean: empty grid", run_empty_grid, "", ""},
    {"called on the host", [] { barrier(); }, kAll, "outside a kernel"},
};

int main(int count, char** arguments) {
  if (count < 2) {
    for (const Case& c : kCases) std::printf("%s\t%s\t%s\n", c.name, c.builds, c.report);
    return 0;
  }
  for (const Case& c : kCases) {
    if (std::strcmp(c.name, arguments[1])) continue;
    try {
      c.run();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      return 1;
    }
    return 0;
  }
  return 2;
}
