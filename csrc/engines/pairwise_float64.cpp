// The pairwise losses of float64 tensors.
#include "engines/pairwise_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_PAIRWISE(double, Functor)
FASTLOSS_PAIRWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
