// A triplet whose label says which of two rows belongs to the anchor: p with label 1; with label 0
// the rows exchange their names.
//     L = hinge(x),      x = 2‖p − a‖² − ‖p − n‖² − ‖a − n‖² + m
// With u = a − p and w = (n − a) + (n − p), n seen from both,
//     x = (3/2)‖u‖² − ½‖w‖² + m
// because ‖n − a‖² + ‖n − p‖² = ½‖w‖² + ½‖u‖² (the parallelogram's law): two lengths for three, and
// differences only. The derivatives of x are
//     ∂/∂a = 3u + w,      ∂/∂p = w − 3u,      ∂/∂n = −2w.
#pragma once

#include "losses/hinge.h"

namespace fastloss {

template <class T>
struct LabelledTripletLoss {
  T margin;
  Hinge hinge;

  // One feature's part of x, and of its derivatives.
  template <class F>
  FASTLOSS_HOST_DEVICE static T part(F a, F p, F n) {
    const T u = static_cast<T>(a - p), w = static_cast<T>((n - a) + (n - p));
    return T(1.5) * u * u - T(0.5) * w * w;
  }
  template <class F>
  struct Slopes {
    F a, p, n;
  };
  template <class F>
  FASTLOSS_HOST_DEVICE static Slopes<F> slopes(F a, F p, F n) {
    const F u = a - p, w = (n - a) + (n - p);
    return {F(3) * u + w, w - F(3) * u, F(-2) * w};
  }

  // `sum`: the parts of all features.
  FASTLOSS_HOST_DEVICE Element<T> at(T sum) const { return hinged(hinge, sum + margin); }
};

}  // namespace fastloss
