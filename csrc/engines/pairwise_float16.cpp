// The pairwise losses of float16 tensors.
#include "engines/pairwise_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_PAIRWISE(Float16, Functor)
FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
