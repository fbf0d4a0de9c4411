// The listwise losses of float64 tensors.
#include "engines/listwise_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_LISTWISE(double, Functor)
FASTLOSS_LISTWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
