// Python's view of the kernels: the only file that sees pybind11.
//
// Every function releases the GIL. std::invalid_argument becomes ValueError.
#include <torch/csrc/utils/pybind.h>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/pairwise_torch.h"
#include "losses/registry.h"

namespace py = pybind11;

namespace fastloss {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using ForwardTuple =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using BackwardTuple = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

template <template <class> class Loss>
void bind_pairwise(py::module_& module, const std::string& stem) {
  module.def((stem + "_forward").c_str(),
             [stem](at::Tensor query, at::Tensor key, OptionalTensor target,
                    OptionalTensor negatives, OptionalTensor key_bias, OptionalTensor key_ids,
                    OptionalTensor weights, OptionalTensor temperature_tensor, double temperature,
                    std::string similarity, double margin, std::vector<double> options,
                    std::string reduction, Wanted wanted, int64_t workspace) -> ForwardTuple {
               auto r = pairwise_forward<Loss>(
                   stem,
                   {query, key, target, negatives, key_bias, key_ids, weights, temperature_tensor,
                    temperature, similarity, margin, options, workspace},
                   reduction, wanted);
               auto& g = r.gradients;
               return {r.loss, r.rows, g[0], g[1], g[2], g[3], g[4]};
             },
             py::call_guard<py::gil_scoped_release>());
  module.def(
      (stem + "_backward").c_str(),
      [stem](at::Tensor grad_loss, at::Tensor rows, at::Tensor query, at::Tensor key,
             OptionalTensor target, OptionalTensor negatives, OptionalTensor key_bias,
             OptionalTensor key_ids, OptionalTensor weights, OptionalTensor temperature_tensor,
             double temperature, std::string similarity, double margin, std::vector<double> options,
             Wanted wanted, int64_t workspace) -> BackwardTuple {
        auto g = pairwise_backward<Loss>(
            stem,
            {query, key, target, negatives, key_bias, key_ids, weights, temperature_tensor,
             temperature, similarity, margin, options, workspace},
            rows, grad_loss, wanted);
        return {g[0], g[1], g[2], g[3], g[4]};
      },
      py::call_guard<py::gil_scoped_release>());
}

constexpr const char* kSimdNames[] = {"baseline", "v3", "v4"};

void set_simd(const std::string& name) {
  for (int level = 0; level < 3; ++level) {
    if (name == kSimdNames[level]) return simd::force(static_cast<simd::Level>(level));
  }
  throw std::invalid_argument("simd must be \"baseline\", \"v3\" or \"v4\", got \"" + name + "\"");
}

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
  facts["cuda"] = false;
  return facts;
}

}  // namespace
}  // namespace fastloss

PYBIND11_MODULE(_C, module) {
  using namespace fastloss;
#define FASTLOSS_BIND(stem, Functor) bind_pairwise<Functor>(module, #stem);
  FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_BIND)
  module.def("negatives_gradient", &pairwise_negatives_gradient,
             py::call_guard<py::gil_scoped_release>());
  module.def("build_facts", &build_facts);
  module.def("set_simd", &set_simd);
  module.def("set_matrix_product", &host::set_matrix_product);
  module.def("multiply_adds", &host::multiply_adds);
}
