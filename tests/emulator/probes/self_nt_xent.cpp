// ../programs/self_nt_xent.cpp with a main of its own, for mutants.py: the same checks of fewer
// losses and types. `auto` makes a template of the program's main, which is never instantiated.
#define main() whole_program(auto)
#include "../programs/self_nt_xent.cpp"
#undef main

int main() {
  return report_of([] {
    const Subject<NtXent> coupled{
        "nt_xent", {0}, rule<long double, false>, rule<double, false>, rule<float, false>};
    run_all<NtXent, BFloat16>(coupled, true);
    // A tile of several blocks of rows that has more columns than rows.
    run<NtXent, BFloat16>(coupled, random_set(320, 0, true, Similarity::kCosine, 2), 1 << 26, 1);
  });
}
