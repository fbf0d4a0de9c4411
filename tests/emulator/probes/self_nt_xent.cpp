#include "../programs/self_nt_xent.cpp"

#include "only.h"
#undef main

int main() {
  return report_of([] {
    const Subject<NtXent> coupled{
        "nt_xent", {0}, rule<Exact, false>, rule<double, false>, rule<float, false>};
    run_all<NtXent, BFloat16>(coupled, true);
  });
}
