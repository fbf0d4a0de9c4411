// Contrastive loss of a pair at distance d, with s = 1 for a similar pair, else 0, and a margin m:
//     L = c · (s · attract(d) + (1 − s) · repel(d))
//                       attract(d)            repel(d)
//     m_minus_d²        d²                    max(0, m − d)²       Hadsell, Chopra & LeCun 2006
//     m²_minus_d²       d²                    max(0, m² − d²)
//     linear            d                     max(0, m − d)
//     as published      max(0, d² − m²)       d²                   a misprint: both attract
// Derivatives by d are beside the values; 0 at a kink.
#pragma once

#include "core/element.h"
#include "core/host_device.h"

namespace fastloss {

enum class NegativeTerm {
  kMarginMinusDistanceSquared,
  kMarginSquaredMinusDistanceSquared,
  kLinear,
  kAsPublished
};

template <class T>
struct ContrastiveLoss {
  T margin, scale;
  NegativeTerm term;

  FASTLOSS_HOST_DEVICE Element<T> at(T d, bool similar) const {
    const Element<T> one = unscaled(d, similar);
    return {scale * one.value, scale * one.derivative};
  }

 private:
  FASTLOSS_HOST_DEVICE Element<T> unscaled(T d, bool similar) const {
    const Element<T> square{d * d, T(2) * d};
    const T gap = margin - d;
    switch (term) {
      case NegativeTerm::kMarginMinusDistanceSquared:
        if (similar) return square;
        return gap <= T(0) ? none() : Element<T>{gap * gap, T(-2) * gap};
      case NegativeTerm::kMarginSquaredMinusDistanceSquared:
        if (similar) return square;
        return gap <= T(0) ? none() : Element<T>{gap * (margin + d), T(-2) * d};
      case NegativeTerm::kLinear:
        if (similar) return {d, T(1)};
        return gap <= T(0) ? none() : Element<T>{gap, T(-1)};
      case NegativeTerm::kAsPublished:
        break;
    }
    if (!similar) return square;
    return gap >= T(0) ? none() : Element<T>{-gap * (margin + d), T(2) * d};
  }

  FASTLOSS_HOST_DEVICE static Element<T> none() { return {T(0), T(0)}; }
};

}  // namespace fastloss
