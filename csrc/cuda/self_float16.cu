// The losses of one set of float16 tensors on the device.
#include "cuda/self_run.cuh"

namespace fastloss::device {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_SELF_CUDA(Float16, float, Functor)
FASTLOSS_SELF_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss::device
