// The few lines a test program needs: check, compare, report.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace fastloss::test {

inline int failures = 0;

inline void check(bool holds, const char* text, const char* file, int line) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, text);
}

// Relative to the larger of |expected| and 1; equal infinities and two NaN agree.
inline void check_close(double got, double expected, double tolerance, const char* text,
                        const char* file, int line) {
  if (std::isnan(got) && std::isnan(expected)) return;
  if (got == expected) return;
  const double error = std::abs(got - expected);
  if (error <= tolerance * std::fmax(std::abs(expected), 1.0)) return;
  ++failures;
  std::fprintf(stderr, "%s:%d: %s: got %.17g, expected %.17g\n", file, line, text, got, expected);
}

inline int report() {
  if (failures) std::fprintf(stderr, "%d checks failed\n", failures);
  return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace fastloss::test

#define CHECK(condition) fastloss::test::check(condition, #condition, __FILE__, __LINE__)
#define CHECK_CLOSE(got, expected, tolerance) \
  fastloss::test::check_close(got, expected, tolerance, #got, __FILE__, __LINE__)
