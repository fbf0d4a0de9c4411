// What the files of this folder share: one binds each family of losses, module.cpp the module.
//
// They are the only ones that see pybind11. Every kernel releases the GIL; std::invalid_argument
// becomes ValueError.
#pragma once

#include <torch/csrc/utils/pybind.h>

#include <optional>
#include <vector>

namespace py = pybind11;

namespace fastloss {

using OptionalTensor = std::optional<at::Tensor>;
using Tensors = std::vector<at::Tensor>;

void bind_pairwise_losses(py::module_& module);
void bind_self_losses(py::module_& module);
void bind_chosen_losses(py::module_& module);
void bind_listwise_losses(py::module_& module);
void bind_pointwise_losses(py::module_& module);
void bind_metric_losses(py::module_& module);
void bind_labelled_losses(py::module_& module);

}  // namespace fastloss
