// Arguments and gradients of the pairwise losses on the device.
#include "cuda/pairwise_arguments.cuh"

namespace fastloss::device {

#define FASTLOSS_INSTANTIATE_ACCUMULATED(T)                                          \
  template void prepare_rows<T>(Runtime&, const RowArguments<T>&, int64_t*, T*, T*); \
  template void prepare_weights<T>(Runtime&, const T*, int64_t, T*);                 \
  template void prepare_scale<T>(Runtime&, const void*, StoredType, bool, T*);       \
  template void prepare_number<T>(Runtime&, const void*, StoredType, T*);
FASTLOSS_INSTANTIATE_ACCUMULATED(double)
FASTLOSS_INSTANTIATE_ACCUMULATED(float)

#define FASTLOSS_INSTANTIATE_STORED(S, T)                                                         \
  template void negatives_gradient<S, T>(Runtime&, int64_t, int64_t, int64_t, const S*, const S*, \
                                         const T*, const T*, S*);
FASTLOSS_INSTANTIATE_STORED(double, double)
FASTLOSS_INSTANTIATE_STORED(float, float)
FASTLOSS_INSTANTIATE_STORED(BFloat16, float)
FASTLOSS_INSTANTIATE_STORED(Float16, float)

template void scaled_gradient<BFloat16>(Runtime&, const float*, int64_t, const float*, BFloat16*);
template void scaled_gradient<Float16>(Runtime&, const float*, int64_t, const float*, Float16*);

}  // namespace fastloss::device
