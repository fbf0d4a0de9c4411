#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>
#include <stdexcept>

// Elsewhere the library switches, which costs a system call each time.
#if defined(__x86_64__) && !defined(FASTLOSS_UCONTEXT)
#define FASTLOSS_SWITCH 1
#else
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(FASTLOSS_RACE_DETECTOR)
#include <sanitizer/tsan_interface.h>
#endif

namespace fastloss::emulator {

namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kGuardBytes = 4096;

}  // namespace

#if defined(FASTLOSS_SWITCH)

// Registers that a call preserves go onto the stack that is left; the others the caller has saved.
asm(R"(
.text
.local fastloss_emulator_switch
.type fastloss_emulator_switch, @function
fastloss_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fastloss_emulator_switch, .-fastloss_emulator_switch
)");
extern "C" void fastloss_emulator_switch(void** left, void* entered);

void Fiber::start(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bottom_, size_);  // it may have been left in mid-function
#endif
  fake_stack_ = nullptr;
  auto** top = reinterpret_cast<void**>(stack_ + kGuardBytes + kStackBytes);
  *--top = nullptr;  // where `entry` would return to: the stack is aligned as in a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context_ = top;
}

#else

void Fiber::start(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bottom_, size_);
#endif
  fake_stack_ = nullptr;
  auto* const context = static_cast<ucontext_t*>(context_);
  getcontext(context);
  context->uc_stack.ss_sp = stack_ + kGuardBytes;
  context->uc_stack.ss_size = kStackBytes;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
}

#endif

Fiber::Fiber() {
  stack_ = static_cast<char*>(mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack_, kGuardBytes, PROT_NONE);
  bottom_ = stack_ + kGuardBytes;
  size_ = kStackBytes;
#if !defined(FASTLOSS_SWITCH)
  context_ = new ucontext_t;
#endif
#if defined(FASTLOSS_RACE_DETECTOR)
  race_detector_ = __tsan_create_fiber(0);
#endif
}

Fiber::Fiber(Calling) : own_(false) {
#if defined(__SANITIZE_ADDRESS__)
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes)) throw std::runtime_error("no stack");
  void* bottom;
  pthread_attr_getstack(&attributes, &bottom, &size_);
  pthread_attr_destroy(&attributes);
  bottom_ = bottom;
#endif
#if !defined(FASTLOSS_SWITCH)
  context_ = new ucontext_t;
#endif
#if defined(FASTLOSS_RACE_DETECTOR)
  race_detector_ = __tsan_get_current_fiber();
#endif
}

Fiber::~Fiber() {
#if !defined(FASTLOSS_SWITCH)
  delete static_cast<ucontext_t*>(context_);
#endif
  if (!own_) return;
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_destroy_fiber(race_detector_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(bottom_, size_);
#endif
  munmap(stack_, kGuardBytes + kStackBytes);
}

void switch_to(Fiber& from, Fiber& to) {
#if defined(FASTLOSS_RACE_DETECTOR)
  __tsan_switch_to_fiber(to.race_detector_, 1);  // 1: without synchronisation
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#if defined(FASTLOSS_SWITCH)
  fastloss_emulator_switch(&from.context_, to.context_);
#else
  swapcontext(static_cast<ucontext_t*>(from.context_), static_cast<ucontext_t*>(to.context_));
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void arrived() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace fastloss::emulator
