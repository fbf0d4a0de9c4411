// ../programs/mma_self.cpp with a main of its own, for mutants.py: the same checks of fewer losses
// and types. `auto` makes a template of the program's main, which is never instantiated.
#define main() whole_program(auto)
#include "../programs/mma_self.cpp"
#undef main

int main() {
  check<NtXent, BFloat16>("nt_xent", "bfloat16", {.n = 140, .k = 40, .d = 40, .scale = 3});
  if (!kForRaces) {
    check<NtXent, BFloat16>("nt_xent", "bfloat16",
                            {.n = 400, .k = 0, .d = 33, .scale = 3, .bytes = 1});
  }
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
