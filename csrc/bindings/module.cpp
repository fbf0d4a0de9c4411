// The module fastloss._C: the losses, and switches and facts for tests and benchmarks.
#include "bindings/bindings.h"
#include "core/simd.h"
#include "engines/host.h"
#if defined(FASTLOSS_CUDA)
#include "cuda/engine_choice.h"
#endif

namespace fastloss {
namespace {

constexpr const char* kSimdNames[] = {"baseline", "v3", "v4"};

void set_simd(const std::string& name) {
  for (int level = 0; level < 3; ++level) {
    if (name == kSimdNames[level]) return simd::force(static_cast<simd::Level>(level));
  }
  throw std::invalid_argument("simd must be \"baseline\", \"v3\" or \"v4\", got \"" + name + "\"");
}

#if defined(FASTLOSS_CUDA)
constexpr const char* kCudaEngines[] = {"auto", "library", "mma"};

void set_cuda_engine(const std::string& name) {
  for (int engine = 0; engine < 3; ++engine) {
    if (name == kCudaEngines[engine]) {
      cuda::engine_choice() = static_cast<cuda::Engine>(engine);
      return;
    }
  }
  throw std::invalid_argument("engine must be \"auto\", \"library\" or \"mma\", got \"" + name +
                              "\"");
}
#endif

py::dict build_facts() {
  py::dict facts;
  facts["version"] = FASTLOSS_VERSION;
  facts["torch_built"] = FASTLOSS_TORCH_VERSION;
#if defined(__VERSION__)
  facts["compiler"] = __VERSION__;
#endif
  facts["simd"] = kSimdNames[static_cast<int>(simd::current())];
  py::list available;
  for (int level = 0; level <= static_cast<int>(simd::widest()); ++level) {
    available.append(kSimdNames[level]);
  }
  facts["simd_available"] = available;
  facts["matrix_product"] = host::matrix_product();
  facts["bfloat16_products"] = host::multiplies_bfloat16();
#if defined(FASTLOSS_CUDA)
  facts["cuda"] = true;
  facts["cuda_toolkit"] = FASTLOSS_CUDA_TOOLKIT;
  facts["cuda_architectures"] = FASTLOSS_CUDA_ARCHITECTURES;
#else
  facts["cuda"] = false;
#endif
  return facts;
}

}  // namespace
}  // namespace fastloss

PYBIND11_MODULE(_C, module) {
  using namespace fastloss;
  bind_pairwise_losses(module);
  bind_self_losses(module);
  bind_chosen_losses(module);
  bind_listwise_losses(module);
  bind_pointwise_losses(module);
  bind_metric_losses(module);
  bind_labelled_losses(module);
  module.def("build_facts", &build_facts);
  module.def("set_simd", &set_simd);
  module.def("set_matrix_product", &host::set_matrix_product);
  module.def("set_bfloat16_products", &host::set_bfloat16_products);
  module.def("multiply_adds", &host::multiply_adds);
#if defined(FASTLOSS_CUDA)
  module.def("set_cuda_engine", &set_cuda_engine);
#endif
}
