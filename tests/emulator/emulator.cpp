// The scheduler: which thread runs next, who waits where, and the errors of a kernel that the
// hardware would turn into a hang, a wrong value or nothing at all.
//
// In the build with the race detector this file is compiled without it, and says itself what it
// reads and writes on behalf of a kernel.
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "scheduler.h"

namespace fastloss::emulator {

Launch* current = nullptr;

namespace {

constexpr size_t kSharedBytes = 48 * 1024;  // what a block may declare
constexpr int kMostThreads = 1024;
#if defined(FASTLOSS_RACE_DETECTOR)
// Blocks have fibers of their own up to this number; beyond it they take those of earlier blocks,
// and races with these stay unseen.
constexpr size_t kMostFibers = 2048;
#endif

std::mutex one_launch;
// FASTLOSS_EMULATOR_SEED moves the seeds that a program sets itself, too.
uint64_t seed_of(uint64_t value) {
  static const char* const text = std::getenv("FASTLOSS_EMULATOR_SEED");
  return ((text ? std::strtoull(text, nullptr, 10) : 0) << 16) + value;
}
uint64_t seed_value = seed_of(1);
std::vector<std::unique_ptr<Fiber>> fibers;
std::map<const void*, size_t> device_memory;
int accesses = 0;  // that are open

// ---- errors

std::string text(Site site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line()) + " (" +
         site.function_name() + ")";
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

// Ends a thread of a launch in which another failed.
struct Unwound {};

bool same(Site a, Site b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || !std::strcmp(a.file_name(), b.file_name()));
}

// One thread of a group is where the others cannot come, or the other way round.
[[noreturn]] void fail_divergent(const char* group, int first, int count, const char* does,
                                 Site site) {
  const Thread& self = *current->thread;
  for (int i = first; i < first + count; ++i) {
    const Thread& other = current->block->threads[i];
    if (&other == &self || other.state == State::kReady) continue;
    if (other.state == self.state && same(other.site, site)) continue;
    fail_thread(std::string("divergent ") + group + ": " + text(other) + ", another " + does, site);
  }
  std::abort();
}

// ---- waiting for each other

int warp_begin(const Thread& thread) { return thread.index / kWarp * kWarp; }
Group& warp_of(const Thread& thread) {
  return current->block->warps[static_cast<size_t>(thread.index / kWarp)];
}

void check_group(const Group& group, bool joins, const char* name, int first, int count,
                 const char* does, Site site) {
  const bool alone = group.waiting == 0 || (joins && same(group.site, site));
  if (!alone || (joins && group.away)) fail_divergent(name, first, count, does, site);
}

void check_warp(Thread& thread, const char* does, Site site) {
  const bool joins = thread.state == State::kInWarp;
  check_group(warp_of(thread), joins, "warp", warp_begin(thread), kWarp, does, site);
}

void check_block(Thread& thread, const char* does, Site site) {
  const Block& block = *current->block;
  check_group(block.all, thread.state == State::kAtBarrier, "block", 0,
              static_cast<int>(block.threads.size()), does, site);
}

// ---- running

Thread* any_ready() {
  std::vector<Thread*>& ready = current->ready;
  const size_t pick = current->random() % ready.size();
  Thread* const thread = ready[pick];
  ready[pick] = ready.back();
  ready.pop_back();
  return thread;
}

void run_thread() {
  acquire(&current->started);
  if (current->error) return;
  current->kernel(current->parameters);
  Thread& thread = *current->thread;
  if (!thread.copies.empty()) {
    fail_thread("returned with copies under way", thread.copies.front().site);
  }
  thread.state = State::kDone;
  const Site nowhere;
  check_warp(thread, "returned", nowhere);
  check_block(thread, "returned", nowhere);
}

void thread_main() {
  arrived();
  try {
    run_thread();
  } catch (const Unwound&) {
  } catch (...) {
    current->error = std::current_exception();
  }
  current->thread->state = State::kDone;
  ++warp_of(*current->thread).away;
  ++current->block->all.away;
  release(&current->ended);
  if (current->error) {
    switch_to(*current->thread->fiber, *current->host);
  } else {
    wait();
  }
  std::abort();
}

void unwind(Launch& launch) {
  launch.ready.clear();
  for (Thread& thread : launch.block->threads) {
    launch.thread = &thread;
    if (thread.state != State::kDone) switch_to(*launch.host, *thread.fiber);
  }
}

// The host's part in a block: it starts threads, and does what they ask of it.
void run_block(Launch& launch) {
  Block& block = *launch.block;
  release(&launch.started);
  for (Thread& thread : block.threads) launch.ready.push_back(&thread);
  while (!launch.error && block.all.away < static_cast<int>(block.threads.size())) {
    if (launch.on_host) {
      launch.on_host(launch.request);
      launch.on_host = nullptr;
    } else if (launch.ready.empty()) {
      launch.error = std::make_exception_ptr(std::logic_error("no thread can run"));
    } else {
      launch.thread = any_ready();
    }
    if (!launch.error) switch_to(*launch.host, *launch.thread->fiber);
  }
  if (launch.error) unwind(launch);
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

void run_blocks(Launch& launch, int threads) {
  std::vector<int64_t> order(static_cast<size_t>(launch.grid.x * launch.grid.y));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::shuffle(order.begin(), order.end(), launch.random);
  std::deque<Block> blocks;  // with the race detector, all of them until the end
  size_t fibers_used = 0;
  for (const int64_t index : order) {
    Block& block = blocks.emplace_back();
    launch.block = &block;
    block.index = {index % launch.grid.x, index / launch.grid.x};
    block.threads.resize(static_cast<size_t>(threads));
    block.warps.resize(static_cast<size_t>(threads / kWarp));
    for (int i = 0; i < threads; ++i) {
      block.threads[i].index = i;
      block.threads[i].fiber = fiber(fibers_used++);
    }
    run_block(launch);
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
}

}  // namespace

void fail(const char* what, Site site) {
  if (current && current->thread) fail_thread(what, site);
  throw std::runtime_error(std::string(what) + " at " + text(site));
}

void fail_thread(const std::string& what, Site site) {
  const device::BlockIndex block = current->block->index;
  throw std::runtime_error(what + ": thread " + std::to_string(current->thread->index) +
                           " of block (" + std::to_string(block.x) + ", " +
                           std::to_string(block.y) + ")" + (site.line() ? " at " : "") +
                           (site.line() ? text(site) : ""));
}

Thread& running(Site site) {
  if (!current) fail("called outside a kernel", site);
  return *current->thread;
}

void leave_for(Fiber& next) {
  switch_to(*current->thread->fiber, next);
  if (current->error) throw Unwound{};
}

void wait() {
  if (current->ready.empty()) return leave_for(*current->host);
  Fiber& left = *current->thread->fiber;
  Thread* const next = any_ready();
  if (next == current->thread) return;
  current->thread = next;
  switch_to(left, *next->fiber);
  if (current->error) throw Unwound{};
}

void resume(Thread& thread) {
  thread.state = State::kReady;
  current->ready.push_back(&thread);
}

void arrive_in_warp(Thread& thread, Site site) {
  thread.state = State::kInWarp;
  check_warp(thread, "is here", site);
  Group& warp = warp_of(thread);
  warp.site = thread.site = site;
  ++warp.waiting;
}

void seed(uint64_t value) {
  const std::lock_guard lock(one_launch);
  seed_value = seed_of(value);
}

void check_parameter(const void* parameter, size_t size) {
  struct Stack {
    uintptr_t begin = 0, end = 0;
    Stack() {
      pthread_attr_t attributes;
      if (pthread_getattr_np(pthread_self(), &attributes)) return;
      void* bottom;
      size_t bytes;
      pthread_attr_getstack(&attributes, &bottom, &bytes);
      pthread_attr_destroy(&attributes);
      begin = reinterpret_cast<uintptr_t>(bottom);
      end = begin + bytes;
    }
  };
  static thread_local const Stack stack;
  for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
    uintptr_t word;
    copy_bytes(&word, static_cast<const char*>(parameter) + at, sizeof word);
    if (word >= stack.begin && word < stack.end) {
      throw std::invalid_argument("a kernel is given an address on the stack");
    }
  }
}

void run(device::Grid grid, int threads, Kernel kernel, const void* parameters) {
  if (threads < kWarp || threads % kWarp || threads > kMostThreads) {
    throw std::invalid_argument("a block of " + std::to_string(threads) + " threads");
  }
  const std::lock_guard lock(one_launch);
  const DeviceAccess access;
  Host host;
  Launch launch;
  launch.grid = grid;
  launch.kernel = kernel;
  launch.parameters = parameters;
  launch.host = &host;
  launch.random.state = seed_value++ << 32;
  launch.ready.reserve(static_cast<size_t>(threads));
  current = &launch;
  run_blocks(launch, threads);
  current = nullptr;
  if (launch.error) std::rethrow_exception(launch.error);
}

void add_device_memory(const void* memory, size_t bytes) {
  device_memory[memory] = bytes;
  poison(memory, bytes);
}
void remove_device_memory(const void* memory) {
  const auto found = device_memory.find(memory);
  unpoison(memory, found->second);
  device_memory.erase(found);
}
DeviceAccess::DeviceAccess() {
  if (accesses++) return;
  for (const auto& [memory, bytes] : device_memory) unpoison(memory, bytes);
}
DeviceAccess::~DeviceAccess() {
  if (--accesses) return;
  for (const auto& [memory, bytes] : device_memory) poison(memory, bytes);
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
      block.arrays.push_back({&site, data, bytes, std::vector<bool>(bytes / 16), 0});
      release(&block.arrays.back().sync);
    });
    array = find();
  }
  if (array->bytes != bytes) {
    fail_thread(std::string(site.name) + " of " + site.file + ":" + std::to_string(site.line) +
                    " has two sizes",
                Site());
  }
  acquire(&array->sync);
  return array->data;
}

}  // namespace fastloss::emulator

namespace fastloss::device {

using namespace fastloss::emulator;

int thread(Site site) { return running(site).index; }
int lane(Site site) { return running(site).index % kWarp; }
int warp(Site site) { return running(site).index / kWarp; }
int threads(Site site) {
  running(site);
  return static_cast<int>(current->block->threads.size());
}
BlockIndex block(Site site) {
  running(site);
  return current->block->index;
}
BlockIndex blocks(Site site) {
  running(site);
  return {current->grid.x, current->grid.y};
}

void barrier(Site site) {
  Thread& thread = running(site);
  Block& block = *current->block;
  thread.state = State::kAtBarrier;
  check_warp(thread, "is here", site);
  check_block(thread, "is here", site);
  block.all.site = thread.site = site;
  char* const sync = &block.all.order.sync[block.all.order.turn];
  release(sync);
  ++warp_of(thread).away;
  if (++block.all.waiting == static_cast<int>(block.threads.size())) {
    block.all.waiting = 0;
    block.all.order.turn ^= 1;
    for (Group& warp : block.warps) warp.away = 0;
    for (Thread& other : block.threads) resume(other);
  }
  wait();
  acquire(sync);
}

void warp_barrier(Site site) {
  struct Nothing {
  } nothing;
  Group& warp = warp_of(running(site));
  char* const sync = &warp.order.sync[warp.order.turn];
  release(sync);
  together(nothing, site, [&](Nothing**) { warp.order.turn ^= 1; });
  acquire(sync);
}

}  // namespace fastloss::device

#include "copies.inl"
#include "exchanges.inl"
