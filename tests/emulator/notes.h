// What the sanitizers are told on a kernel's behalf, by code that they do not watch themselves.
#pragma once

#include <cstddef>
#include <cstdint>

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

inline void note_read([[maybe_unused]] const void* address, [[maybe_unused]] size_t size) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_read_range(const_cast<void*>(address), size);
#endif
}
inline void note_write([[maybe_unused]] void* address, [[maybe_unused]] size_t size) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_write_range(address, size);
#endif
}

// What was done before a release comes before what is done after an acquire of the same address.
inline void release([[maybe_unused]] void* sync) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_release(sync);
#endif
}
inline void acquire([[maybe_unused]] void* sync) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_acquire(sync);
#endif
}

// Between the two, any access is an error.
inline void poison([[maybe_unused]] const void* address, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(address, size);
#endif
}
inline void unpoison([[maybe_unused]] const void* address, [[maybe_unused]] size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(address, size);
#endif
}

// One by one: the race detector watches memcpy and memset wherever they are called from.
inline void copy_words(void* to, const void* from, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    static_cast<volatile uint32_t*>(to)[i] = static_cast<const volatile uint32_t*>(from)[i];
  }
}
inline void copy_bytes(void* to, const void* from, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    static_cast<volatile unsigned char*>(to)[i] =
        static_cast<const volatile unsigned char*>(from)[i];
  }
}
inline void fill_bytes(void* to, unsigned char value, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<volatile unsigned char*>(to)[i] = value;
}

}  // namespace fastloss::emulator
