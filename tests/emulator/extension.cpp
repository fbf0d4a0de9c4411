// The losses whose device is the CPU: the bindings of fastloss._C, their CUDA engines and kernels,
// and the emulator beneath, as the Python module fastloss_emulated.
#include "bindings/bindings.h"
#include "cuda/launch.h"

PYBIND11_MODULE(fastloss_emulated, module) {
  fastloss::bind_pairwise_losses(module);
  fastloss::bind_self_losses(module);
  fastloss::bind_chosen_losses(module);
  module.def("seed", &fastloss::emulator::seed);
}
