#include "../programs/pairwise_softmax.cpp"

#include "only.h"
#undef main

int main() {
  return report_of([] {
    similarities<Float16>(Similarity::kCosine, 1, 0);
    similarities<Float16>(Similarity::kEuclidean, 0.1, 0);
    options<Float16>(0.1, false, Similarity::kDot);
    shapes<Float16>();
  });
}
