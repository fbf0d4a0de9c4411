// Whether a pass takes the tensor-core kernels: the process's choice (engine_choice.h), for tensors
// of a type that has them, on a GPU that has them.
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <type_traits>

#include "cuda/engine_choice.h"
#include "engines/tensor_arguments.h"
#if !defined(FASTLOSS_EMULATOR)
#include <c10/cuda/CUDAException.h>
#endif

namespace fastloss::device {

// float32 rows are rounded to tf32 only where torch's own products are: asked as they ask, since
// allowTF32CuBLAS() throws once torch.backends.cuda.matmul.fp32_precision was set.
inline bool takes_tf32() {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) ==
         at::Float32Precision::TF32;
}

template <class S>
bool takes_tiles([[maybe_unused]] const std::string& name,
                 [[maybe_unused]] const at::Tensor& tensor) {
  if constexpr (std::is_same_v<S, double>) return false;
  if (cuda::engine_choice() != cuda::Engine::kMma) return false;
  if (std::is_same_v<S, float> && !takes_tf32()) return false;
#if !defined(FASTLOSS_EMULATOR)
  int major = 0, minor = 0;
  const int device = tensor.device().index();
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major < 8) {
    fail(name, "cuda_engine(\"mma\") needs a GPU of compute capability 8.0 or more, " +
                   tensor.device().str() + " has " + std::to_string(major) + "." +
                   std::to_string(minor) + "; cuda_engine(\"library\") does not");
  }
#endif
  return true;
}

}  // namespace fastloss::device
