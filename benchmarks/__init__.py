"""The benchmark program `fastloss-bench`, installed as the package `fastloss_benchmarks`."""
