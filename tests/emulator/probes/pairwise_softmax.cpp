// ../programs/pairwise_softmax.cpp with a main of its own, for mutants.py: the same checks of fewer
// losses and types. `auto` makes a template of the program's main, which is never instantiated.
#define main() whole_program(auto)
#include "../programs/pairwise_softmax.cpp"
#undef main

int main() {
  return report_of([] {
    similarities<Float16>(Similarity::kCosine, 1, 0);
    similarities<Float16>(Similarity::kEuclidean, 0.1, 0);
    options<Float16>(0.1, false, Similarity::kDot);
    shapes<Float16>();
  });
}
