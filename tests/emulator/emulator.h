// csrc/cuda/device.h on the CPU: every thread of a block is a fiber, blocks run one after the
// other, both in a random order of a seed (FASTLOSS_EMULATOR_SEED). README.md says what is checked.
//
// Only what must be known per type is here; the scheduler is emulator.cpp, which the race detector
// does not watch: it orders nothing but what barriers order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <type_traits>

namespace fastloss::emulator {

using Site = std::source_location;

// What the hardware would not do: thrown by `launch`.
[[noreturn]] void fail(const char* what, Site site);

// Where a shared array is declared: one address per declaration and kernel instantiation.
struct SharedSite {
  const char* file;
  int line;
  const char* name;
};
void* shared_array(const SharedSite& site, size_t bytes);

void shuffle(const void* value, void* result, size_t words, int from, Site site);

}  // namespace fastloss::emulator

#define FASTLOSS_KERNEL(threads, blocks)

#define FASTLOSS_SHARED(type, name, count)                                                \
  static constexpr fastloss::emulator::SharedSite name##_site{__FILE__, __LINE__, #name}; \
  static_assert(std::is_trivially_destructible_v<type>);                                  \
  type* const name = static_cast<type*>(                                                  \
      fastloss::emulator::shared_array(name##_site, sizeof(type) * static_cast<size_t>(count)))

namespace fastloss::device {

using emulator::Site;

int thread(Site site = Site::current());
int threads(Site site = Site::current());
int lane(Site site = Site::current());
int warp(Site site = Site::current());
BlockIndex block(Site site = Site::current());
BlockIndex blocks(Site site = Site::current());

void barrier(Site site = Site::current());
void warp_barrier(Site site = Site::current());

template <class V>
V shuffle(const V& value, int from, Site site = Site::current()) {
  static_assert(std::is_trivially_copyable_v<V> && sizeof(V) % sizeof(uint32_t) == 0);
  if (from < 0 || from >= kWarp) emulator::fail("shuffle from a lane that is none", site);
  V result = value;
  emulator::shuffle(&value, &result, sizeof(V) / sizeof(uint32_t), from, site);
  return result;
}
template <class V>
V shuffle_down(const V& value, int delta, Site site = Site::current()) {
  if (delta < 0 || delta >= kWarp) emulator::fail("shuffle down by more than a warp", site);
  return shuffle(value, lane() + delta < kWarp ? lane() + delta : lane(), site);
}
template <class V>
V shuffle_xor(const V& value, int mask, Site site = Site::current()) {
  if (mask < 0 || mask >= kWarp) emulator::fail("shuffle with a mask beyond the warp", site);
  return shuffle(value, lane() ^ mask, site);
}
uint32_t ballot(bool condition, Site site = Site::current());

void copy_async(void* shared, const void* global, int bytes, Site site = Site::current());
void commit_copies(Site site = Site::current());
namespace detail {
void wait_copies(int pending, Site site);
}
template <int kPending>
void wait_copies(Site site = Site::current()) {
  static_assert(kPending >= 0);
  detail::wait_copies(kPending, site);
}

void load_matrices(uint32_t (&out)[4], const void* shared, Site site = Site::current());

template <class In>
void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
              Site site = Site::current());

uint32_t to_tf32(float value);

}  // namespace fastloss::device
