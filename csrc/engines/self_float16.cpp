// The losses of one set of float16 tensors.
#include "engines/self_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_SELF(Float16, Functor)
FASTLOSS_SELF_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
