"""Coefficients of log(1 + x) and x / (1 + x) as polynomials on [0, 1], in closed form.

With T the Chebyshev polynomial of degree R moved to [0, 1], T(x) = T_R(2x − 1), the polynomial

    q(x) = (1 − T(x) / T(−1)) / (1 + x),        degree R − 1 (the numerator vanishes at x = −1),

has (1 + x) q(x) = 1 − T(x) / T(−1): the relative error of q as an approximation of 1 / (1 + x)
swings between ±1 / |T_R(−3)| = 2 / ((3 + √8)^R + (3 − √8)^R), so that no polynomial of its degree
is closer. x q(x) then approximates x / (1 + x), and its integral of q, term by term, log(1 + x):
value and derivative belong together exactly, and neither errs by more than q does.

Everything is exact until the last rounding.

    python3 csrc/core/exponential_sums.py > csrc/core/exponential_sums.h
"""

from fractions import Fraction

TERMS = {"float": 12, "double": 20}


def shifted_chebyshev(degree: int) -> list[int]:
    """Coefficients of T_degree(2x − 1), lowest first."""
    before, current = [1], [-1, 2]
    for _ in range(degree - 1):
        following = [0] * (len(current) + 1)
        for k, c in enumerate(current):  # T_{r+1} = 2 (2x − 1) T_r − T_{r−1}
            following[k] -= 2 * c
            following[k + 1] += 4 * c
        for k, c in enumerate(before):
            following[k] -= c
        before, current = current, following
    return current


def reciprocal(degree: int) -> list[Fraction]:
    """Coefficients of q, lowest first."""
    chebyshev = shifted_chebyshev(degree)
    at_pole = sum(c * (-1) ** k for k, c in enumerate(chebyshev))
    numerator = [Fraction(-c, at_pole) for c in chebyshev]
    numerator[0] += 1
    quotient, carry = [Fraction(0)] * degree, Fraction(0)
    for k in range(degree, 0, -1):  # division by x + 1
        carry = numerator[k] - carry
        quotient[k - 1] = carry
    assert numerator[0] == carry
    return quotient


def array(name: str, values: list[Fraction]) -> str:
    lines = [f"      {float(value)!r}," for value in values]
    return "\n".join([f"  static constexpr double {name}[kTerms] = {{", *lines, "  };"])


def header() -> str:
    parts = [
        "// Generated: python3 csrc/core/exponential_sums.py > csrc/core/exponential_sums.h",
        "//",
        "// x / (1 + x) ≈ Σ_k kSigmoid[k−1] x^k and log(1 + x) ≈ Σ_k kLog1p[k−1] x^k on [0, 1], "
        "k = 1 …",
        "// kTerms, both within kError, relative; the derivation stands in the script.",
        "#pragma once",
        "",
        "// clang-format off",
        "",
        "namespace fastloss {",
        "",
        "template <class T>",
        "struct ExponentialSums;",
    ]
    for name, terms in TERMS.items():
        sigmoid = reciprocal(terms)
        log1p = [c / (k + 1) for k, c in enumerate(sigmoid)]
        chebyshev = shifted_chebyshev(terms)
        error = Fraction(1, abs(sum(c * (-1) ** k for k, c in enumerate(chebyshev))))
        parts += [
            "",
            f"template <>\nstruct ExponentialSums<{name}> {{",
            f"  static constexpr int kTerms = {terms};",
            f"  static constexpr double kError = {1.001 * float(error):.4g};",
            array("kSigmoid", sigmoid),
            array("kLog1p", log1p),
            "};",
        ]
    return "\n".join([*parts, "", "}  // namespace fastloss"])


if __name__ == "__main__":
    print(header())
