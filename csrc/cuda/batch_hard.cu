// Batch-hard triplets of all storage types on the device.
#include "cuda/batch_hard.cuh"

namespace fastloss::device {

#define FASTLOSS_INSTANTIATE_CHOSEN(S, T)                                                     \
  template void hardest<S, T>(Runtime&, const SelfOnDevice<S, T>&, const int32_t*, int64_t*); \
  template void chosen_forward<S, T>(Runtime&, const ChosenOnDevice<S, T>&, T*, T*);          \
  template void chosen_backward<S, T>(Runtime&, const ChosenOnDevice<S, T>&, const int64_t*,  \
                                      const int64_t*, S*, S*);
FASTLOSS_INSTANTIATE_CHOSEN(double, double)
FASTLOSS_INSTANTIATE_CHOSEN(float, float)
FASTLOSS_INSTANTIATE_CHOSEN(BFloat16, float)
FASTLOSS_INSTANTIATE_CHOSEN(Float16, float)

}  // namespace fastloss::device
