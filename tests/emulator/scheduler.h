// The state of the launch that runs: its blocks, their threads, and where each of them waits.
#pragma once

#include <cstdint>
#include <exception>
#include <list>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "emulator_launch.h"
#include "fiber.h"
#include "notes.h"

namespace fastloss::emulator {

using device::kWarp;

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
  void* operands = nullptr;  // what it brought to its warp
  int64_t group = 0;         // of copies: the one that is open
  std::vector<Copy> copies;  // in order of their groups
};

// What a barrier orders. Two, used in turn: who is past one barrier may reach the next, and no
// further, before the last thread leaves the first.
struct Order {
  char sync[2];
  int turn = 0;
};

// Threads of a warp or of a block: how many of them wait at `site`, and how many never come.
struct Group {
  int waiting = 0;
  int away = 0;  // of a warp: at the block's barrier or done; of a block: done
  Site site;
  Order order;
};

struct SharedArray {
  const SharedSite* site;
  unsigned char* data;
  size_t bytes;
  std::vector<bool> under_way;  // of 16 bytes each: whether a copy is
  char sync;
};

struct Block {
  device::BlockIndex index{};
  std::vector<Thread> threads;
  std::vector<Group> warps;
  Group all;
  std::list<SharedArray> arrays;
};

// SplitMix64 (Steele, Lea and Flood 2014).
struct Random {
  using result_type = uint64_t;
  uint64_t state = 0;

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

// One at a time.
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
  Random random;
  char started, ended;
};

extern Launch* current;

// The thread that calls, inside a kernel.
Thread& running(Site site);

// What a kernel did wrong: this thread ends by an exception, then all others do.
[[noreturn]] void fail_thread(const std::string& what, Site site);

// Runs other threads until this one is resumed.
void wait();
void resume(Thread& thread);
// To the host, until it comes back.
void leave_for(Fiber& next);

// Work that must not look like a thread's own, because it allocates.
template <class Work>
void on_host(const Work& work) {
  current->on_host = [](const void* request) { (*static_cast<const Work*>(request))(); };
  current->request = &work;
  leave_for(*current->host);
}

void arrive_in_warp(Thread& thread, Site site);

// Brings operands to the warp; the last of its lanes does with all of them what is to be done.
template <class Operands, class Combine>
void together(Operands& operands, Site site, const Combine& combine) {
  Thread& thread = running(site);
  thread.operands = &operands;
  arrive_in_warp(thread, site);
  Group& warp = current->block->warps[static_cast<size_t>(thread.index / kWarp)];
  if (warp.waiting == kWarp) {
    warp.waiting = 0;
    Operands* lanes[kWarp];
    Thread* const first = &current->block->threads[thread.index / kWarp * kWarp];
    for (int i = 0; i < kWarp; ++i) lanes[i] = static_cast<Operands*>(first[i].operands);
    combine(lanes);
    for (int i = 0; i < kWarp; ++i) resume(first[i]);
  }
  wait();
}

}  // namespace fastloss::emulator
