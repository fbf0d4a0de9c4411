// Losses of one score or of one pair: the hand-written derivative is the derivative, nothing is
// lost at the ends, kinks have derivative 0.
#include <initializer_list>

#include "check.h"
#include "dual.h"
#include "losses/binary_cross_entropy.h"
#include "losses/binary_cross_entropy_with_logits.h"
#include "losses/bpr_loss.h"
#include "losses/hinge_loss.h"
#include "losses/pairwise_margin_loss.h"

using namespace fastloss;
using test::Dual;

constexpr double kInf = math::kInfinity<double>;

void test_with_logits() {
  const BinaryCrossEntropyWithLogits<double> loss;
  for (double z = -20; z <= 20; z += 0.37) {
    for (const double y : {0.0, 0.3, 1.0, 1.7, -0.5}) {
      for (const double v : {1.0, 0.0, 2.5}) {
        const Dual x{z, 1};
        const Dual definition =
            Dual(v * y) * log(Dual(1) + exp(-x)) + Dual(1 - y) * log(Dual(1) + exp(x));
        const auto got = loss.at(z, y, v);
        CHECK_CLOSE(got.value, definition.value, 1e-12);
        CHECK_CLOSE(got.derivative, definition.derivative, 1e-12);
      }
    }
  }
  // Right and certain: as many digits as anywhere.
  CHECK(std::abs(loss.at(40.0, 1.0, 1.0).value / std::exp(-40.0) - 1) < 1e-14);
  CHECK(std::abs(loss.at(40.0, 1.0, 1.0).derivative / -std::exp(-40.0) - 1) < 1e-14);
  CHECK(std::abs(loss.at(-40.0, 0.0, 1.0).derivative / std::exp(-40.0) - 1) < 1e-14);
  CHECK(loss.at(kInf, 1.0, 1.0).value == 0 && loss.at(kInf, 0.0, 1.0).value == kInf);
  CHECK(loss.at(-kInf, 0.0, 1.0).value == 0 && loss.at(-kInf, 0.0, 1.0).derivative == 0);
  CHECK(loss.at(-1e30, 1.0, 1.0).value == 1e30 && loss.at(-1e30, 1.0, 1.0).derivative == -1);
  CHECK(std::isnan(loss.at(std::nan(""), 1.0, 1.0).value));
  CHECK(std::isnan(loss.at(std::nan(""), 1.0, 1.0).derivative));
  CHECK(std::isnan(loss.at(0.0, std::nan(""), 1.0).value));
}

void test_of_probabilities() {
  const BinaryCrossEntropy<double> loss;
  for (double p = 0.003; p < 1; p += 0.017) {
    for (const double y : {0.0, 0.3, 1.0}) {
      const Dual x{p, 1};
      const Dual definition = -(Dual(y) * log(x) + Dual(1 - y) * log(Dual(1) - x));
      CHECK_CLOSE(loss.at(p, y, 1.0).value, definition.value, 1e-13);
      CHECK_CLOSE(loss.at(p, y, 1.0).derivative, definition.derivative, 1e-12);
    }
  }
  CHECK(std::abs(loss.at(1e-18, 0.0, 1.0).value / 1e-18 - 1) < 1e-14);
  CHECK(loss.at(0.0, 1.0, 1.0).value == 100 && loss.at(1.0, 0.0, 1.0).value == 100);
  CHECK(loss.at(0.0, 1.0, 1.0).derivative == -1e12 && loss.at(1.0, 0.0, 1.0).derivative == 1e12);
  CHECK(loss.at(0.0, 0.0, 1.0).value == 0 && loss.at(0.0, 0.0, 1.0).derivative == 0);
  CHECK(std::isnan(loss.at(std::nan(""), 0.0, 1.0).value));
  using Loss = BinaryCrossEntropy<double>;
  CHECK(Loss::takes_input(0.0) && Loss::takes_input(1.0) && Loss::takes_input(std::nan("")));
  CHECK(!Loss::takes_input(-1e-300) && !Loss::takes_input(1 + 1e-15) && !Loss::takes_input(kInf));
}

void test_hinge() {
  const HingeLoss<double> loss;
  for (const double y : {-1.0, 1.0}) {
    CHECK(loss.at(0.25 * y, y, 1.0).value == 0.75 && loss.at(0.25 * y, y, 1.0).derivative == -y);
    CHECK(loss.at(-2 * y, y, 1.0).value == 3 && loss.at(-2 * y, y, 1.0).derivative == -y);
    CHECK(loss.at(y, y, 1.0).value == 0 && loss.at(y, y, 1.0).derivative == 0);  // the kink
    CHECK(loss.at(kInf * y, y, 1.0).value == 0 && loss.at(kInf * y, y, 1.0).derivative == 0);
    CHECK(std::isnan(loss.at(std::nan(""), y, 1.0).value));
  }
  CHECK(HingeLoss<double>::takes_target(-1.0) && !HingeLoss<double>::takes_target(0.0));
}

void test_pairs() {
  const BprLoss<double> bpr;
  for (double gap = -30; gap <= 30; gap += 0.43) {
    const Dual x{gap, 1};
    const Dual definition = -log(Dual(1) / (Dual(1) + exp(x)));
    CHECK_CLOSE(bpr.at(gap).value, definition.value, 1e-13);
    CHECK_CLOSE(bpr.at(gap).derivative, definition.derivative, 1e-13);
  }
  CHECK(bpr.at(1e30).value == 1e30 && bpr.at(1e30).derivative == 1);
  CHECK(bpr.at(-kInf).value == 0 && bpr.at(-kInf).derivative == 0);
  CHECK(std::isnan(bpr.at(std::nan("")).value) && std::isnan(bpr.at(std::nan("")).derivative));

  const PairwiseMarginLoss<double> margin{0.5};
  CHECK(margin.at(0.25).value == 0.75 && margin.at(0.25).derivative == 1);
  CHECK(margin.at(-0.5).value == 0 && margin.at(-0.5).derivative == 0);  // the kink
  CHECK(margin.at(-3.0).value == 0 && margin.at(-3.0).derivative == 0);
  CHECK(std::isnan(margin.at(std::nan("")).value));
}

int main() {
  test_with_logits();
  test_of_probabilities();
  test_hinge();
  test_pairs();
  return test::report();
}
