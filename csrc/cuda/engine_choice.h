// Which of two engines the losses take on a CUDA device: a switch of the process, like the bound on
// the workspace. Read at the start of a pass.
#pragma once

#include <atomic>

namespace fastloss::cuda {

enum class Engine : int {
  kAuto,     // the library's products; the kernel of our own only where hardware showed it faster
  kLibrary,  // the library's products
  kMma,      // tensor-core tiles of our own, where there are some for the loss, type and pass
};

inline std::atomic<Engine>& engine_choice() {
  static std::atomic<Engine> choice{Engine::kAuto};
  return choice;
}

}  // namespace fastloss::cuda
