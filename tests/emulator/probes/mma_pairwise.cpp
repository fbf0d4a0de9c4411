// ../programs/mma_pairwise.cpp with a main of its own, for mutants.py: the same checks of fewer
// losses and types. `auto` makes a template of the program's main, which is never instantiated.
#define main() whole_program(auto)
#include "../programs/mma_pairwise.cpp"
#undef main

int main() {
  Case both{.n = 140, .m = 150, .d = 120, .scale = 0.3, .groups = true};
  check<InfoNce, BFloat16>("info_nce", "bfloat16", both);
  if (!kForRaces) {
    check<InfoNce, BFloat16>("info_nce", "bfloat16", {.n = 390, .m = 270, .d = 23, .bytes = 1});
    check<InfoNce, BFloat16>("info_nce", "bfloat16",
                             {.n = 127,
                              .m = 129,
                              .d = 15,
                              .similarity = Similarity::kEuclidean,
                              .scale = 2,
                              .bias = true,
                              .duplicates = 9});
  }
  both.targets = Targets::kDiagonal;
  both.m = both.n;
  check<ClipLoss, BFloat16>("clip_loss", "bfloat16", both);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
