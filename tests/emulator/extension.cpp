// The losses whose device is the CPU: the bindings of fastloss._C, their CUDA engines and kernels,
// and the emulator beneath, as the Python module fastloss_emulated.
#include <pybind11/stl.h>

#include <vector>

#include "bindings/bindings.h"
#include "cuda/engine_choice.h"
#include "cuda/launch.h"

PYBIND11_MODULE(fastloss_emulated, module) {
  fastloss::bind_pairwise_losses(module);
  fastloss::bind_self_losses(module);
  fastloss::bind_chosen_losses(module);
  module.def("seed", &fastloss::emulator::seed);
  module.def("launched", [] {
    const auto& places = fastloss::emulator::launched;
    return std::vector<int64_t>(places.begin(), places.end());
  });
  module.def("forget_launched", [] { fastloss::emulator::launched.clear(); });
  module.def("set_cuda_engine", [](const std::string& name) {
    using fastloss::cuda::Engine;
    fastloss::cuda::engine_choice() = name == "mma" ? Engine::kMma : Engine::kAuto;
  });
}
