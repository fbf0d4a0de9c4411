// ../programs/pairwise_softmax.cpp with a main of its own, for mutants.py: the same checks of fewer
// losses and types. `auto` makes a template of the program's main, which is never instantiated.
#define main() whole_program(auto)
#include "../programs/pairwise_softmax.cpp"
#undef main

int main() {
  return report_of([] {
    similarities<Float16>(Similarity::kCosine, 1, 0);
    options<Float16>(0.1, false, Similarity::kDot);
    const auto run = [](int64_t n, int64_t m) {  // a warp a row, a block a row, rows in parts
      Run<InfoNce, Float16>("info_nce", Problem(n, m, 3, false), info_nce(0, false), {0, 0}, {})
          .check(false);
    };
    run(3, 1031);
    if constexpr (!kForRaces) {
      similarities<Float16>(Similarity::kEuclidean, 0.1, 0);
      run(127, 129);
      run(1, 9001);
    }
  });
}
