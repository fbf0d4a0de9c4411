// The listwise losses of float32, bfloat16 and float16 tensors.
#include "engines/listwise_torch.inl"

namespace fastloss {

#define FASTLOSS_INSTANTIATE(stem, Functor) FASTLOSS_INSTANTIATE_LISTWISE(float, Functor)
FASTLOSS_LISTWISE_LOSSES(FASTLOSS_INSTANTIATE)

}  // namespace fastloss
