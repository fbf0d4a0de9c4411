// The losses of one set of bfloat16 tensors.
#include "engines/self_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_SELF(BFloat16, Functor)
FASTLOSS_SELF_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
