// The pairwise losses of float16 tensors on the device.
#include "cuda/pairwise_run.cuh"

namespace fastloss::device {

#define FASTLOSS_INSTANTIATE(stem, Functor) \
  FASTLOSS_INSTANTIATE_PAIRWISE_CUDA(Float16, float, Functor)
FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss::device
