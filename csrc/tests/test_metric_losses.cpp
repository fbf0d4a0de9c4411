// Losses of distances: the hand-written derivative is the derivative, kinks have derivative 0.
#include <initializer_list>

#include "check.h"
#include "dual.h"
#include "losses/contrastive_loss.h"
#include "losses/labelled_triplet_loss.h"
#include "losses/triplet_margin_loss.h"

using namespace fastloss;
using test::Dual;

const double kNan = std::nan("");

Dual positive_part(Dual x) { return x > Dual(0) ? x : Dual(0); }

Dual hinge_of(Hinge hinge, Dual x) {
  if (hinge == Hinge::kNone) return x;
  return hinge == Hinge::kRelu ? positive_part(x) : log(Dual(1) + exp(x));
}

constexpr Hinge kHinges[] = {Hinge::kRelu, Hinge::kSoftplus, Hinge::kNone};

void test_hinges() {
  for (const Hinge hinge : kHinges) {
    for (double x = -8; x < 8; x += 0.37) {
      const auto got = hinged(hinge, x);
      const Dual expected = hinge_of(hinge, {x, 1});
      CHECK_CLOSE(got.value, expected.value, 1e-14);
      CHECK_CLOSE(got.derivative, expected.derivative, 1e-14);
    }
    CHECK(std::isnan(hinged(hinge, kNan).value));
  }
  CHECK(hinged(Hinge::kRelu, 0.0).derivative == 0);
  CHECK(std::isnan(hinged(Hinge::kRelu, kNan).derivative));
  CHECK(std::abs(hinged(Hinge::kSoftplus, -40.0).value / std::exp(-40.0) - 1) < 1e-14);
}

void test_triplet_margin() {
  for (const Hinge hinge : {Hinge::kRelu, Hinge::kSoftplus}) {
    const TripletMarginLoss<double> loss{0.3, hinge};
    for (const double d_positive : {0.1, 1.4}) {
      for (const double d_negative : {0.05, 0.7, 2.5}) {
        const auto got = loss.at(d_positive, d_negative);
        const auto of = [&](Dual p, Dual n) { return hinge_of(hinge, p - n + Dual(0.3)); };
        CHECK_CLOSE(got.value, of(d_positive, d_negative).value, 1e-14);
        CHECK_CLOSE(got.derivative, of({d_positive, 1}, d_negative).derivative, 1e-14);
        CHECK_CLOSE(-got.derivative, of(d_positive, {d_negative, 1}).derivative, 1e-14);
      }
    }
  }
}

void test_labelled_triplet() {
  const auto square = [](Dual x) { return x * x; };
  for (const double a : {-0.7, 0.4}) {
    for (const double p : {-1.3, 0.9}) {
      for (const double n : {-0.2, 1.1}) {
        const auto published = [&](Dual a, Dual p, Dual n) {
          return Dual(2) * square(p - a) - square(p - n) - square(a - n);
        };
        using Loss = LabelledTripletLoss<double>;
        const auto slopes = Loss::slopes(a, p, n);
        CHECK_CLOSE(Loss::part(a, p, n), published(a, p, n).value, 1e-14);
        CHECK_CLOSE(slopes.a, published({a, 1}, p, n).derivative, 1e-14);
        CHECK_CLOSE(slopes.p, published(a, {p, 1}, n).derivative, 1e-14);
        CHECK_CLOSE(slopes.n, published(a, p, {n, 1}).derivative, 1e-14);
      }
    }
  }
  // Features of one type, their sums in another: differences of 2⁻¹² at 100 are not lost.
  const float a = 100, p = a + 0x1p-12f, n = a - 0x1p-12f;
  CHECK(LabelledTripletLoss<double>::part(a, p, n) == 1.5 * 0x1p-24 - 0.5 * 9 * 0x1p-24);
  CHECK((LabelledTripletLoss<double>{0.5, Hinge::kRelu}.at(-0.75).value == 0));
  CHECK((LabelledTripletLoss<double>{0.5, Hinge::kNone}.at(-0.75).value == -0.25));
}

void test_contrastive() {
  const double m = 1.25, c = 0.5;
  const auto square = [](Dual x) { return x * x; };
  const auto attract = [&](NegativeTerm term, Dual d) {
    if (term == NegativeTerm::kAsPublished) return positive_part(square(d) - Dual(m * m));
    return term == NegativeTerm::kLinear ? d : square(d);
  };
  const auto repel = [&](NegativeTerm term, Dual d) {
    if (term == NegativeTerm::kAsPublished) return square(d);
    if (term == NegativeTerm::kLinear) return positive_part(Dual(m) - d);
    if (term == NegativeTerm::kMarginMinusDistanceSquared) {
      return square(positive_part(Dual(m) - d));
    }
    return positive_part(Dual(m * m) - square(d));
  };
  for (const NegativeTerm term :
       {NegativeTerm::kMarginMinusDistanceSquared, NegativeTerm::kMarginSquaredMinusDistanceSquared,
        NegativeTerm::kLinear, NegativeTerm::kAsPublished}) {
    const ContrastiveLoss<double> loss{m, c, term};
    for (double d = 0.01; d < 3; d += 0.17) {
      const Dual x{d, 1};
      const Dual expected[] = {Dual(c) * attract(term, x), Dual(c) * repel(term, x)};
      for (const bool similar : {true, false}) {
        const auto got = loss.at(d, similar);
        CHECK_CLOSE(got.value, expected[similar ? 0 : 1].value, 1e-14);
        CHECK_CLOSE(got.derivative, expected[similar ? 0 : 1].derivative, 1e-14);
      }
    }
    const bool hinged = term == NegativeTerm::kAsPublished;
    CHECK(loss.at(m, hinged).value == 0 && loss.at(m, hinged).derivative == 0);  // the kink
    CHECK(std::isnan(loss.at(kNan, true).value) && std::isnan(loss.at(kNan, false).value));
  }
}

int main() {
  test_hinges();
  test_triplet_margin();
  test_labelled_triplet();
  test_contrastive();
  return test::report();
}
