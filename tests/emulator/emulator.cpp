// The scheduler: which thread runs next, who waits where, what a warp does together, and the errors
// of a kernel that the hardware would turn into a hang, a wrong value or nothing at all.
//
// In the build with the race detector this file is compiled without it, and says itself what it
// reads and writes on behalf of a kernel.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "emulator_launch.h"
#include "fiber.h"
#include "fragments.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#if defined(FASTLOSS_RACE_DETECTOR)
#include <sanitizer/tsan_interface.h>
extern "C" {
void __tsan_read_range(void* address, size_t size);
void __tsan_write_range(void* address, size_t size);
}
#endif

namespace fastloss::emulator {

namespace {

using device::kWarp;

constexpr size_t kSharedBytes = 48 * 1024;  // what a block may declare
constexpr int kMostThreads = 1024;
#if defined(FASTLOSS_RACE_DETECTOR)
// Blocks have fibers of their own up to this number; beyond it they take those of earlier blocks,
// and races with these stay unseen.
constexpr size_t kMostFibers = 4096;
#endif

// ---- what the sanitizers are told

void note_read([[maybe_unused]] const void* address, [[maybe_unused]] size_t size) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_read_range(const_cast<void*>(address), size);
#endif
}
void note_write([[maybe_unused]] void* address, [[maybe_unused]] size_t size) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_write_range(address, size);
#endif
}
void release([[maybe_unused]] void* sync) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_release(sync);
#endif
}
void acquire([[maybe_unused]] void* sync) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_acquire(sync);
#endif
}
void poison([[maybe_unused]] void* address, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(address, size);
#endif
}
void unpoison([[maybe_unused]] void* address, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(address, size);
#endif
}
// Bytes one by one: the race detector watches memcpy and memset wherever they are called from.
void copy_bytes(void* to, const void* from, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    static_cast<volatile unsigned char*>(to)[i] =
        static_cast<const volatile unsigned char*>(from)[i];
  }
}
void fill_bytes(void* to, unsigned char value, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<volatile unsigned char*>(to)[i] = value;
}

// ---- threads, warps, blocks

struct Copy {
  unsigned char* shared;
  const unsigned char* global;
  int bytes;
  int64_t group;
  unsigned char source[16];  // as it was when the copy began
  Site site;
};

enum class State { kReady, kInWarp, kAtBarrier, kDone };

struct Thread {
  Fiber* fiber = nullptr;
  int index = 0;
  State state = State::kReady;
  Site site;                 // where it waits
  void* operands = nullptr;  // what it brought to the warp
  int64_t group = 0;         // of copies, the one that is open
  std::deque<Copy> copies;
};

// What barriers order. Two, used in turn: who is past one barrier may reach the next, and no
// further, before the last one leaves it.
struct Order {
  char sync[2];
  int turn = 0;
};

struct Warp {
  int waiting = 0;
  int done = 0;
  Order order;
};

struct SharedArray {
  const SharedSite* site;
  unsigned char* data;
  size_t bytes;
  char sync;
};

struct Block {
  device::BlockIndex index{};
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::deque<SharedArray> arrays;
  Order order;
  int at_barrier = 0;
  int done = 0;
};

// The launch that runs. One at a time.
struct Launch {
  device::Grid grid;
  Kernel kernel = nullptr;
  const void* parameters = nullptr;
  Block* block = nullptr;
  Thread* thread = nullptr;  // the one that runs
  Host* host = nullptr;
  std::vector<Thread*> ready;
  void (*on_host)(const void*) = nullptr;  // what a thread asks of the host, and with what
  const void* request = nullptr;
  std::exception_ptr error;
  std::mt19937_64 random;
  char ended;
};

Launch* current = nullptr;
std::mutex one_launch;
uint64_t seed_value = [] {
  const char* const text = std::getenv("FASTLOSS_EMULATOR_SEED");
  return text ? std::strtoull(text, nullptr, 10) : uint64_t{1};
}();
std::vector<std::unique_ptr<Fiber>> fibers;

Launch& launch_of(Site site) {
  if (!current) fail("called outside a kernel", site);
  return *current;
}

std::string text(Site site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line()) + " (" +
         site.function_name() + ")";
}

bool same(Site a, Site b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || !std::strcmp(a.file_name(), b.file_name()));
}

std::string text(const Thread& thread) {
  const std::string name = "thread " + std::to_string(thread.index);
  switch (thread.state) {
    case State::kInWarp:
      return name + " waits for its warp at " + text(thread.site);
    case State::kAtBarrier:
      return name + " waits for its block at " + text(thread.site);
    case State::kDone:
      return name + " has returned";
    default:
      return name + " runs";
  }
}

// ---- switching

void leave_for(Fiber& next) { switch_to(*current->thread->fiber, next); }

// Runs any thread that can, until this one is resumed.
void wait() {
  std::vector<Thread*>& ready = current->ready;
  if (ready.empty()) return leave_for(*current->host);
  const size_t pick = current->random() % ready.size();
  Thread* const next = ready[pick];
  ready[pick] = ready.back();
  ready.pop_back();
  Thread* const left = current->thread;
  if (next == left) return;
  current->thread = next;
  switch_to(*left->fiber, *next->fiber);
}

// Never returns: the launch ends here, and its fibers are left as they are.
[[noreturn]] void stop(std::exception_ptr error) {
  current->error = std::move(error);
  current->ready.clear();
  switch_to(*current->thread->fiber, *current->host);
  std::abort();
}

[[noreturn]] void fail_thread(const std::string& what, Site site) {
  const device::BlockIndex block = current->block->index;
  stop(std::make_exception_ptr(std::runtime_error(
      what + ": thread " + std::to_string(current->thread->index) + " of block (" +
      std::to_string(block.x) + ", " + std::to_string(block.y) + ") at " + text(site))));
}

// Work that must not look like a thread's own: it allocates.
template <class Work>
void on_host(const Work& work) {
  current->on_host = [](const void* request) { (*static_cast<const Work*>(request))(); };
  current->request = &work;
  leave_for(*current->host);
}

// ---- waiting for each other

// A thread arrives somewhere, or returns: nobody may wait for it elsewhere.
void check_warp(const Thread& thread, const char* arrives, Site site) {
  const Block& block = *current->block;
  const int first = thread.index / kWarp * kWarp;
  for (int i = first; i < first + kWarp; ++i) {
    const Thread& other = block.threads[i];
    if (&other == &thread) continue;
    const bool elsewhere = other.state == State::kInWarp &&
                           (thread.state != State::kInWarp || !same(other.site, site));
    const bool cannot_come = thread.state == State::kInWarp &&
                             (other.state == State::kDone || other.state == State::kAtBarrier);
    if (elsewhere || cannot_come) {
      fail_thread("divergent warp: " + text(other) + ", another " + arrives, site);
    }
  }
}

void check_block(const Thread& thread, const char* arrives, Site site) {
  const Block& block = *current->block;
  if (!block.at_barrier && !block.done) return;
  for (const Thread& other : block.threads) {
    if (&other == &thread) continue;
    const bool elsewhere = other.state == State::kAtBarrier &&
                           (thread.state != State::kAtBarrier || !same(other.site, site));
    const bool cannot_come = thread.state == State::kAtBarrier && other.state == State::kDone;
    if (elsewhere || cannot_come) {
      fail_thread("divergent block: " + text(other) + ", another " + arrives, site);
    }
  }
}

void resume(Thread& thread) {
  thread.state = State::kReady;
  current->ready.push_back(&thread);
}

// Brings operands to the warp; the last of its lanes does with all of them what is to be done.
template <class Operands, class Combine>
void together(Operands& operands, Site site, const Combine& combine) {
  Thread& thread = *launch_of(site).thread;
  Block& block = *current->block;
  Warp& warp = block.warps[thread.index / kWarp];
  thread.state = State::kInWarp;
  thread.site = site;
  thread.operands = &operands;
  check_warp(thread, "is here", site);
  if (++warp.waiting == kWarp) {
    warp.waiting = 0;
    Operands* lanes[kWarp];
    Thread* const first = &block.threads[thread.index / kWarp * kWarp];
    for (int i = 0; i < kWarp; ++i) lanes[i] = static_cast<Operands*>(first[i].operands);
    combine(lanes);
    for (int i = 0; i < kWarp; ++i) resume(first[i]);
  }
  wait();
}

struct Nothing {};

// ---- copies

bool is_shared(const void* address, size_t bytes) {
  const auto* const begin = static_cast<const unsigned char*>(address);
  for (const SharedArray& array : current->block->arrays) {
    if (begin >= array.data && begin + bytes <= array.data + array.bytes) return true;
  }
  return false;
}

void finish(const Copy& copy) {
  const auto bytes = static_cast<size_t>(copy.bytes);
  unpoison(copy.shared, 16);
  note_read(copy.global, bytes);
  note_write(copy.shared, 16);
  unsigned char now[16] = {};
  copy_bytes(now, copy.global, bytes);
  for (size_t i = 0; i < bytes; ++i) {
    if (now[i] != copy.source[i]) fail_thread("the source of a copy under way changed", copy.site);
  }
  copy_bytes(copy.shared, now, 16);
}

// ---- running

void thread_main() {
  arrived();
  Thread& thread = *current->thread;
  Block& block = *current->block;
  try {
    current->kernel(current->parameters);
  } catch (...) {
    stop(std::current_exception());
  }
  thread.state = State::kDone;
  if (!thread.copies.empty()) {
    fail_thread("returns with copies under way", thread.copies.front().site);
  }
  check_warp(thread, "returns", thread.site);
  check_block(thread, "returns", thread.site);
  ++block.done;
  release(&current->ended);
  wait();
  std::abort();
}

// The host's part of a block: first the threads, then whatever they ask of it, until all returned.
void run_block(Launch& launch, Block& block) {
  launch.block = &block;
  for (Thread& thread : block.threads) launch.ready.push_back(&thread);
  while (block.done < static_cast<int>(block.threads.size())) {
    Thread* next = launch.thread;
    if (launch.on_host) {
      launch.on_host(launch.request);
      launch.on_host = nullptr;
      if (launch.error) return;
    } else {
      if (launch.ready.empty()) throw std::logic_error("no thread can run");
      const size_t pick = launch.random() % launch.ready.size();
      next = launch.ready[pick];
      launch.ready[pick] = launch.ready.back();
      launch.ready.pop_back();
    }
    launch.thread = next;
    switch_to(*launch.host, *next->fiber);
    if (launch.error) return;
  }
}

Fiber* fiber(size_t index) {
  while (fibers.size() <= index) fibers.push_back(std::make_unique<Fiber>());
  fibers[index]->start(thread_main);
  return fibers[index].get();
}

void free_arrays(Block& block) {
  for (SharedArray& array : block.arrays) {
    unpoison(array.data, array.bytes);
    std::free(array.data);
  }
  block.arrays.clear();
}

}  // namespace

void fail(const char* what, Site site) {
  if (current && current->thread) fail_thread(what, site);
  throw std::runtime_error(std::string(what) + " at " + text(site));
}

void seed(uint64_t value) {
  const std::lock_guard lock(one_launch);
  seed_value = value;
}

void run(device::Grid grid, int threads, Kernel kernel, const void* parameters) {
  if (threads < kWarp || threads % kWarp || threads > kMostThreads) {
    throw std::invalid_argument("a block of " + std::to_string(threads) + " threads");
  }
  const std::lock_guard lock(one_launch);
  Host host;
  Launch launch;
  launch.grid = grid;
  launch.kernel = kernel;
  launch.parameters = parameters;
  launch.host = &host;
  launch.random.seed(seed_value++);
  launch.ready.reserve(static_cast<size_t>(threads));
  std::vector<int64_t> order(static_cast<size_t>(grid.x * grid.y));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::shuffle(order.begin(), order.end(), launch.random);
  current = &launch;

  std::deque<Block> blocks;  // with the race detector, all of them until the end
  size_t fibers_used = 0;
  for (const int64_t index : order) {
    Block& block = blocks.emplace_back();
    block.index = {index % grid.x, index / grid.x};
    block.threads.resize(static_cast<size_t>(threads));
    block.warps.resize(static_cast<size_t>(threads / kWarp));
    for (int i = 0; i < threads; ++i) {
      block.threads[i].index = i;
      block.threads[i].fiber = fiber(fibers_used++);
    }
    release(&launch.ended);
    run_block(launch, block);
    if (launch.error) break;
#if defined(FASTLOSS_RACE_DETECTOR)
    if (fibers_used + static_cast<size_t>(threads) > kMostFibers) fibers_used = 0;
#else
    fibers_used = 0;
    free_arrays(block);
    blocks.clear();
#endif
  }
  acquire(&launch.ended);
  for (Block& block : blocks) free_arrays(block);
  current = nullptr;
  if (launch.error) {
    fibers.clear();  // some were left in the middle
    std::rethrow_exception(launch.error);
  }
}

void* shared_array(const SharedSite& site, size_t bytes) {
  Block& block = *current->block;
  const auto find = [&]() -> SharedArray* {
    for (SharedArray& array : block.arrays) {
      if (array.site == &site) return &array;
    }
    return nullptr;
  };
  SharedArray* array = find();
  if (!array) {
    on_host([&] {
      size_t total = bytes;
      for (const SharedArray& other : block.arrays) total += (other.bytes + 15) / 16 * 16;
      if (total > kSharedBytes) {
        current->error = std::make_exception_ptr(
            std::runtime_error(std::string("more than 48 KB of shared memory with ") + site.name +
                               " at " + site.file + ":" + std::to_string(site.line)));
        return;
      }
      auto* const data = static_cast<unsigned char*>(std::malloc(bytes));
      fill_bytes(data, 0xff, bytes);
      block.arrays.push_back({&site, data, bytes, 0});
      release(&block.arrays.back().sync);
    });
    array = find();
  }
  acquire(&array->sync);
  return array->data;
}

void shuffle(const void* value, void* result, size_t words, int from, Site site) {
  struct Operands {
    const void* value;
    void* result;
    size_t words;
    int from;
  } operands{value, result, words, from};
  together(operands, site, [](Operands** lanes) {
    for (int i = 0; i < kWarp; ++i) {
      const Operands& to = *lanes[i];
      copy_bytes(to.result, lanes[to.from]->value, to.words * sizeof(uint32_t));
    }
  });
}

}  // namespace fastloss::emulator

namespace fastloss::device {

using namespace fastloss::emulator;

int thread() { return current->thread->index; }
int threads() { return static_cast<int>(current->block->threads.size()); }
int lane() { return thread() % kWarp; }
int warp() { return thread() / kWarp; }
BlockIndex block() { return current->block->index; }
BlockIndex blocks() { return {current->grid.x, current->grid.y}; }

void barrier(Site site) {
  Thread& thread = *launch_of(site).thread;
  Block& block = *current->block;
  thread.state = State::kAtBarrier;
  thread.site = site;
  check_warp(thread, "is here", site);
  check_block(thread, "is here", site);
  char* const sync = &block.order.sync[block.order.turn];
  release(sync);
  if (++block.at_barrier == static_cast<int>(block.threads.size())) {
    block.at_barrier = 0;
    block.order.turn ^= 1;
    for (Thread& other : block.threads) resume(other);
  }
  wait();
  acquire(sync);
}

void warp_barrier(Site site) {
  Warp& warp = launch_of(site).block->warps[device::warp()];
  char* const sync = &warp.order.sync[warp.order.turn];
  release(sync);
  Nothing nothing;
  together(nothing, site, [&](Nothing**) { warp.order.turn ^= 1; });
  acquire(sync);
}

uint32_t ballot(bool condition, Site site) {
  struct Operands {
    bool condition;
    uint32_t result;
  } operands{condition, 0};
  together(operands, site, [](Operands** lanes) {
    uint32_t bits = 0;
    for (int i = 0; i < kWarp; ++i) bits |= uint32_t{lanes[i]->condition} << i;
    for (int i = 0; i < kWarp; ++i) lanes[i]->result = bits;
  });
  return operands.result;
}

void copy_async(void* shared, const void* global, int bytes, Site site) {
  Thread& thread = *launch_of(site).thread;
  if (bytes < 0 || bytes > 16) fail_thread("a copy of more than 16 bytes", site);
  if (reinterpret_cast<uintptr_t>(shared) % 16) fail_thread("a copy to a misaligned place", site);
  if (reinterpret_cast<uintptr_t>(global) % 16) fail_thread("a copy from a misaligned place", site);
  if (!is_shared(shared, 16)) fail_thread("a copy to what is not shared memory", site);
  auto* const to = static_cast<unsigned char*>(shared);
  const auto* const from = static_cast<const unsigned char*>(global);
  for (const Copy& other : thread.copies) {
    if (other.shared == to) fail_thread("two copies under way to one place", site);
  }
  Copy copy{to, from, bytes, thread.group, {}, site};
  note_read(from, static_cast<size_t>(bytes));
  copy_bytes(copy.source, from, static_cast<size_t>(bytes));
  // It may arrive at any time from now on.
  unpoison(to, 16);
  note_write(to, 16);
  fill_bytes(to, 0xff, 16);
  poison(to, 16);
  on_host([&] { thread.copies.push_back(copy); });
}

void commit_copies() { ++current->thread->group; }

void detail::wait_copies(int pending) {
  Thread& thread = *current->thread;
  while (!thread.copies.empty() && thread.copies.front().group < thread.group - pending) {
    finish(thread.copies.front());
    on_host([&] { thread.copies.pop_front(); });
  }
}

void load_matrices(uint32_t (&out)[4], const void* shared, Site site) {
  launch_of(site);
  if (reinterpret_cast<uintptr_t>(shared) % 16) fail_thread("a misaligned matrix row", site);
  if (!is_shared(shared, 16)) fail_thread("a matrix row that is not in shared memory", site);
  struct Operands {
    unsigned char row[16];
    uint32_t* out;
  } operands{{}, out};
  note_read(shared, 16);
  copy_bytes(operands.row, shared, 16);
  together(operands, site, [](Operands** lanes) {
    for (int lane = 0; lane < kWarp; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        for (int i = 0; i < 2; ++i) {
          const Place place = place_matrix(lane, i);
          const unsigned char* const value = lanes[8 * matrix + place.row]->row + 2 * place.col;
          auto* const out = reinterpret_cast<unsigned char*>(&lanes[lane]->out[matrix]);
          copy_bytes(out + 2 * i, value, 2);
        }
      }
    }
  });
}

namespace {

struct MmaOperands {
  float* c;
  const uint32_t* a;
  const uint32_t* b;
};

// Products are exact in float, and added to c one after the other: the ISA promises single
// precision and no order.
template <int kInner>
void add_product(MmaOperands** lanes, const float (&a)[16][kInner], const float (&b)[kInner][8]) {
  float c[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) c[place_c(lane, i).row][place_c(lane, i).col] = lanes[lane]->c[i];
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kInner; ++k) {
      for (int col = 0; col < 8; ++col) c[row][col] += a[row][k] * b[k][col];
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) lanes[lane]->c[i] = c[place_c(lane, i).row][place_c(lane, i).col];
  }
}

template <class Half>
float half_of(const uint32_t* registers, int i) {
  return static_cast<float>(Half{static_cast<uint16_t>(registers[i / 2] >> (i % 2 * 16))});
}

template <class Half>
void multiply_halves(MmaOperands** lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const Place place = place_a16(lane, i);
      a[place.row][place.col] = half_of<Half>(lanes[lane]->a, i);
    }
    for (int i = 0; i < 4; ++i) {
      const Place place = place_b16(lane, i);
      b[place.row][place.col] = half_of<Half>(lanes[lane]->b, i);
    }
  }
  add_product(lanes, a, b);
}

// Only the upper 19 bits of a register are read.
float tf32_of(uint32_t bits) {
  const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
  return fastloss::detail::float_of(is_nan ? bits | 0x00400000 : bits & 0xffffe000);
}

void multiply_tf32(MmaOperands** lanes) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const Place place = place_a32(lane, i);
      a[place.row][place.col] = tf32_of(lanes[lane]->a[i]);
    }
    for (int i = 0; i < 2; ++i) {
      const Place place = place_b32(lane, i);
      b[place.row][place.col] = tf32_of(lanes[lane]->b[i]);
    }
  }
  add_product(lanes, a, b);
}

}  // namespace

template <>
void multiply<BFloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  MmaOperands operands{c, a, b};
  together(operands, site, multiply_halves<BFloat16>);
}
template <>
void multiply<Float16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  MmaOperands operands{c, a, b};
  together(operands, site, multiply_halves<Float16>);
}
template <>
void multiply<TF32>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site) {
  MmaOperands operands{c, a, b};
  together(operands, site, multiply_tf32);
}

// cvt.rna: to nearest, ties away from zero.
uint32_t to_tf32(float value) {
  if (value != value) return 0x7fffffff;
  return (fastloss::detail::bits_of(value) + 0x1000) & 0xffffe000;
}

}  // namespace fastloss::device
