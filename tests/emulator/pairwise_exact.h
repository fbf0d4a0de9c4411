// Pairwise losses: problems, and the definition of loss and gradients pair by pair in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "core/math.h"
#include "engines/similarity.h"

namespace fastloss::test {

constexpr double kInf = math::kInfinity<double>;

struct Problem {
  int64_t n, m, d, h = 0;
  Similarity similarity = Similarity::kDot;
  double scale = 1, margin = 0;
  int64_t workspace = 1 << 22;
  std::vector<double> query, key, negatives, bias, factor;
  std::vector<int64_t> target, ids;

  // Random rows around `offset`, a few of them equal; targets anywhere or the diagonal.
  Problem(int64_t n, int64_t m, int64_t d, bool diagonal, double offset = 0) : n(n), m(m), d(d) {
    std::mt19937 random(static_cast<unsigned>(7 * n + m));
    std::normal_distribution<double> normal(0, 1);
    for (int64_t i = 0; i < n * d; ++i) query.push_back(offset + normal(random));
    for (int64_t i = 0; i < m * d; ++i) key.push_back(offset + normal(random));
    for (int64_t j = 3; j < m; j += 29) std::copy_n(&key[0], d, &key[j * d]);
    for (int64_t i = 2; i < n; i += 31) std::copy_n(&key[(i % m) * d], d, &query[i * d]);
    for (int64_t i = 0; i < n; ++i) target.push_back(diagonal ? i : (7 * i + 3) % m);
    for (int64_t i = 0; i < n; ++i) factor.push_back(i % 5 == 4 ? 0.0 : 0.5 + 0.0625 * (i % 7));
  }
  void give_ids() {
    for (int64_t j = 0; j < m; ++j) ids.push_back((j * j) % 23);
  }
  void give_bias() {
    for (int64_t j = 0; j < m; ++j) bias.push_back(j % 7 == 5 ? -kInf : 0.125 * (j % 4));
  }
  void give_negatives(int64_t count) {
    h = count;
    std::mt19937 random(5);
    std::normal_distribution<double> normal(0, 1);
    for (int64_t i = 0; i < n * h * d; ++i) negatives.push_back(normal(random));
  }
  bool allowed(int64_t i, int64_t j) const {
    const int64_t t = target[i];
    return t < 0 || j == t || ids.empty() || ids[j] != ids[t];
  }
};

// A row by its definition: scores (the m keys, then the row's own negatives) → value and ∂value/∂s
// of those that are allowed; t is −1 without a target. Returns whether the row counts in a mean.
using Definition =
    std::function<bool(const std::vector<double>& s, const std::vector<char>& allowed, int64_t t,
                       double& value, std::vector<double>& slope)>;

// Σ terms, Σ |terms| and √Σ terms².
struct Sizes {
  std::vector<double> value, size, spread;
  explicit Sizes(int64_t count) : value(count), size(count), spread(count) {}
  void add(int64_t at, double term, double bound) {
    value[at] += term;
    size[at] += std::isfinite(bound) ? std::abs(bound) : 0;
    spread[at] = std::hypot(spread[at], std::isfinite(bound) ? bound : 0);
  }
  void scale(double factor) {
    for (std::vector<double>* const numbers : {&value, &size, &spread}) {
      for (double& x : *numbers) x *= factor;
    }
  }
};

struct Exact {
  explicit Exact(const Problem& p)
      : values(p.n),
        query(p.n * p.d),
        key(p.m * p.d),
        negatives(p.n * p.h * p.d),
        bias(p.m),
        scale(1),
        shift(1) {}
  // Of the sum of the rows; of their mean.
  Exact mean() const {
    Exact out = *this;
    const double factor = divisor == 0 ? 0 : 1 / divisor;
    out.loss = divisor == 0 ? 0 : loss * factor;
    for (Sizes* const gradient :
         {&out.query, &out.key, &out.negatives, &out.bias, &out.scale, &out.shift}) {
      gradient->scale(factor);
    }
    return out;
  }
  std::vector<double> values;
  Sizes query, key, negatives, bias, scale, shift;
  double loss = 0, reach = 0, divisor = 0;
};

namespace detail {

struct Pair {
  double z = 0, reach = 0;     // similarity times scale
  std::vector<double> dq, dk;  // ∂z
  std::vector<double> q_bound, k_bound;
};

inline Pair pair_of(const Problem& p, const double* q, const double* k,
                    const std::vector<double>& centre) {
  long double qk = 0, qq = 0, kk = 0;  // squares of doubles leave their range
  double square = 0, norms = 0;
  for (int64_t c = 0; c < p.d; ++c) {
    const long double x = q[c], y = k[c];
    qk += x * y, qq += x * x, kk += y * y;
    square += (q[c] - k[c]) * (q[c] - k[c]);
    norms += std::pow(q[c] - centre[c], 2) + std::pow(k[c] - centre[c], 2);
  }
  const auto inverse = [](long double x) {
    return static_cast<double>(x == 0 ? x : 1 / std::sqrt(x));
  };
  const double u = inverse(qq), v = inverse(kk);
  const double distance = std::sqrt(square);
  const double cosine = static_cast<double>(qk * u * v);
  Pair out;
  for (int64_t c = 0; c < p.d; ++c) {
    double dq = p.scale * k[c], dk = p.scale * q[c], q_bound = dq, k_bound = dk;
    if (p.similarity == Similarity::kCosine) {
      dq = p.scale * u * (v * k[c] - cosine * u * q[c]);
      dk = p.scale * v * (u * q[c] - cosine * v * k[c]);
      q_bound = p.scale * u * (std::abs(v * k[c]) + std::abs(u * q[c]));
      k_bound = p.scale * v * (std::abs(v * k[c]) + std::abs(u * q[c]));
    } else if (is_distance(p.similarity)) {
      const bool squared = p.similarity == Similarity::kSquaredEuclidean;
      const double w = p.scale * (squared ? 2 : distance == 0 ? 0 : 1 / distance);
      dk = w * (q[c] - k[c]);
      dq = -dk;
      q_bound = k_bound = w * (std::abs(q[c] - centre[c]) + std::abs(k[c] - centre[c]));
    }
    out.dq.push_back(dq), out.dk.push_back(dk);
    out.q_bound.push_back(q_bound), out.k_bound.push_back(k_bound);
  }
  switch (p.similarity) {
    case Similarity::kDot:
      out.z = p.scale * static_cast<double>(qk);
      out.reach = p.scale * static_cast<double>(std::sqrt(qq * kk));
      break;
    case Similarity::kCosine:
      out.z = p.scale * cosine, out.reach = p.scale;
      break;
    case Similarity::kEuclidean:
      out.z = -p.scale * distance, out.reach = 4 * p.scale * std::sqrt(norms);
      break;
    default:
      out.z = -p.scale * square, out.reach = p.scale * norms;
  }
  return out;
}

}  // namespace detail

// `columns`: the same loss of the columns is added, halves of both (symmetric losses).
inline Exact exact(const Problem& p, const Definition& define, bool columns = false) {
  Exact out(p);
  std::vector<double> centre(p.d);
  for (int64_t j = 0; j < p.m * p.d; ++j) {
    centre[j % p.d] += p.key[j] / static_cast<double>(p.m);
  }
  for (double& c : centre) c = std::isfinite(c) && is_distance(p.similarity) ? c : 0;
  const int64_t wide = p.m + p.h;
  std::vector<std::vector<double>> slopes(p.n, std::vector<double>(wide));
  std::vector<std::vector<detail::Pair>> pairs(p.n);
  const double half = columns ? 0.5 : 1;
  const auto score = [&](int64_t i, int64_t j) {
    const double shift = j == p.target[i] ? p.scale * p.margin : 0;
    return pairs[i][j].z - shift + (j < p.m && !p.bias.empty() ? p.bias[j] : 0);
  };
  for (int64_t i = 0; i < p.n; ++i) {
    for (int64_t j = 0; j < wide; ++j) {
      const double* const other =
          j < p.m ? &p.key[j * p.d] : &p.negatives[(i * p.h + j - p.m) * p.d];
      pairs[i].push_back(detail::pair_of(p, &p.query[i * p.d], other, centre));
      if (std::isfinite(pairs[i][j].reach)) out.reach = std::max(out.reach, pairs[i][j].reach);
    }
  }
  const auto add_row = [&](int64_t i, const std::vector<double>& s,
                           const std::vector<char>& allowed, int64_t t,
                           const std::function<double&(int64_t)>& slope_of) {
    double value = 0;
    std::vector<double> slope(s.size());
    const bool counts = define(s, allowed, t, value, slope);
    const double f = half * p.factor[i];
    if (f != 0) out.values[i] += f * value;
    for (size_t j = 0; f != 0 && j < s.size(); ++j) {
      if (allowed[j]) slope_of(static_cast<int64_t>(j)) += f * slope[j];
    }
    return counts;
  };
  for (int64_t i = 0; i < p.n; ++i) {
    std::vector<double> s(wide);
    std::vector<char> allowed(wide);
    for (int64_t j = 0; j < wide; ++j) {
      s[j] = score(i, j);
      allowed[j] = j >= p.m || p.allowed(i, j);
    }
    const auto own = [&](int64_t j) -> double& { return slopes[i][j]; };
    if (add_row(i, s, allowed, p.target[i], own)) out.divisor += p.factor[i];
  }
  for (int64_t j = 0; columns && j < p.m; ++j) {
    std::vector<double> s(p.n);
    std::vector<char> allowed(p.n);
    for (int64_t i = 0; i < p.n; ++i) s[i] = score(i, j), allowed[i] = p.allowed(i, j);
    add_row(j, s, allowed, j, [&](int64_t i) -> double& { return slopes[i][j]; });
  }
  for (const double value : out.values) out.loss += value;
  for (int64_t i = 0; i < p.n; ++i) {
    for (int64_t j = 0; j < wide; ++j) {
      const double w = slopes[i][j];
      if (w == 0) continue;
      const detail::Pair& pair = pairs[i][j];
      const int64_t at = j < p.m ? j : i * p.h + j - p.m;
      for (int64_t c = 0; c < p.d; ++c) {
        out.query.add(i * p.d + c, w * pair.dq[c], w * pair.q_bound[c]);
        (j < p.m ? out.key : out.negatives).add(at * p.d + c, w * pair.dk[c], w * pair.k_bound[c]);
      }
      if (j < p.m) out.bias.add(j, w, w);
      const double lever = pair.z / p.scale - (j == p.target[i] ? p.margin : 0);
      out.scale.add(0, w * lever, w * lever);
      out.shift.add(0, w, w);
    }
  }
  return out;
}

}  // namespace fastloss::test
