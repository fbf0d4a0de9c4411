// ../programs/pairwise_symmetric.cpp with a main of its own, for mutants.py: the same checks of
// fewer losses and types. `auto` makes a template of the program's main, which is never
// instantiated.
#define main() whole_program(auto)
#include "../programs/pairwise_symmetric.cpp"
#undef main

int main() {
  return report_of([] {
    run<BFloat16>(37, Similarity::kDot, 0.5, 0.2, true, 1 << 22, 3);
    run<BFloat16>(37, Similarity::kEuclidean, 0.5, 0, false, 1 << 22, 3);
    run<BFloat16>(130, Similarity::kCosine, 100, 0, true, 130 * 400, 4);
  });
}
