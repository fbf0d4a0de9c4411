// Contexts of execution that one thread of the CPU switches between. Each has its own stack, and is
// announced to the address sanitizer and the race detector.
#pragma once

#include <cstddef>

namespace fastloss::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes `entry` what the fiber runs when it is next switched to; it must not return.
  void start(void (*entry)());

 private:
  friend class Host;
  friend void switch_to(Fiber& from, Fiber& to);
  struct Calling {};
  explicit Fiber(Calling);

  void* context_ = nullptr;  // where it was left
  void* race_detector_ = nullptr;
  void* fake_stack_ = nullptr;
  char* stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  bool own_ = true;
};

// The calling thread, as a fiber to come back to.
class Host : public Fiber {
 public:
  Host() : Fiber(Calling{}) {}
};

// From the running fiber to another. No order between the two follows from it.
void switch_to(Fiber& from, Fiber& to);
// First thing in an entry.
void arrived();

}  // namespace fastloss::emulator
