// Batch-hard triplets on the device: the choice against its definition, ties and NaN included; loss
// and gradient of the chosen rows against theirs, in double.
#include "cuda/batch_hard.cuh"

#include <algorithm>

#include "self_case.h"

using namespace fastloss;
using namespace fastloss::test;

namespace {

// One of two, the lowest of equal ones; a NaN before all others.
void choose(double value, int64_t candidate, double& best, int64_t& place) {
  const bool first = place < 0;
  if (std::isnan(value) ? !std::isnan(best) || first : first || value > best) {
    best = value;
    place = candidate;
  }
}

// Of rows as stored.
double distance(const Set& set, int64_t i, int64_t j, bool for_choice) {
  double square = 0, xy = 0, xx = 0, yy = 0;
  for (int64_t c = 0; c < set.d; ++c) {
    const double x = set.x[i * set.d + c], y = set.x[j * set.d + c];
    square += (x - y) * (x - y);
    xy += x * y, xx += x * x, yy += y * y;
  }
  if (set.similarity == Similarity::kDot) return -xy;
  if (set.similarity == Similarity::kCosine)
    return 1 - (xx * yy == 0 ? 0 : xy / std::sqrt(xx * yy));
  return set.similarity == Similarity::kEuclidean && !for_choice ? std::sqrt(square) : square;
}

std::vector<int64_t> chosen_by_definition(const Set& set) {
  std::vector<int64_t> chosen(2 * set.n, -1);
  for (int64_t i = 0; i < set.n; ++i) {
    double near = 0, far = 0;
    for (int64_t j = set.itself ? 0 : set.n; j < (set.itself ? set.n : set.all()); ++j) {
      if (j == i) continue;
      const double d = distance(set, i, j, true);
      const int64_t place = j - (set.itself ? 0 : set.n);
      if (set.label[j] == set.label[i]) {
        choose(d, place, far, chosen[2 * i]);
      } else {
        choose(-d, place, near, chosen[2 * i + 1]);
      }
    }
  }
  return chosen;
}

// Products of whole coordinates are exact, with many ties. Distances are taken around a mean that
// is not whole: there are none.
Set any_set(int64_t n, int64_t k, Similarity similarity, int64_t d = 3) {
  Set set = random_set(n, k, k == 0, similarity, 1, 0, d);
  for (double& x : set.x) x = is_distance(similarity) ? x : std::round(2 * x);
  if (is_distance(similarity) && n > 5) set.x[3 * d] += 0.5;  // rows 3 and 5 are no longer equal
  return set;
}

template <class S>
struct On {
  using T = std::conditional_t<std::is_same_v<S, double>, double, float>;

  explicit On(const Set& of) : set(of) {
    for (double& value : set.x) {
      x.push_back(as_stored<S>(value));
      value = stored<S>(value);
    }
    label = set.label;
    label.resize(set.all() + device::kSelfPad, 1);
  }

  void test_choice(int64_t workspace, double products) {
    emulator::PlainRuntime runtime;
    const emulator::Uploaded<S> rows(runtime, {x.begin(), x.begin() + set.n * set.d});
    const emulator::Uploaded<S> others(runtime, {x.begin() + set.n * set.d, x.end()});
    const emulator::Uploaded<int32_t> labels(runtime, label);
    const device::Buffer<int64_t> choices(runtime, 2 * set.n);
    const Similarity searched =
        set.similarity == Similarity::kEuclidean ? Similarity::kSquaredEuclidean : set.similarity;
    const device::SelfOnDevice<S, T> in{set.n,         set.k,      set.d,   rows.data(),
                                        others.data(), set.itself, nullptr, nullptr,
                                        searched,      {T(1)},     false,   workspace};
    device::hardest<S, T>(runtime, in, labels.data(), choices.data());
    chosen = emulator::download(choices);
    CHECK(chosen == chosen_by_definition(set));
    const double product = static_cast<double>(set.n * (set.itself ? set.n : set.k) * set.d);
    if (products > 0) CHECK(static_cast<double>(runtime.multiply_adds()) <= products * product);
  }

  // Of any choice.
  void test_gradient(Hinge hinge, bool all_anchors, bool mean) {
    constexpr double kMargin = 0.5;
    emulator::PlainRuntime runtime;
    const int64_t n = set.n, d = set.d, first = set.itself ? 0 : n, m = set.itself ? n : set.k;
    std::vector<double> gradient(set.all() * d), losses(n), size(set.all() * d);
    std::vector<T> upstream;
    for (int64_t i = 0; i < n; ++i) upstream.push_back(static_cast<T>(mean ? 1.5 : (i % 5) / 4.0));
    double count = 0, total = 0;
    const auto counts = [&](int64_t i) {
      return chosen[2 * i + 1] >= 0 && (all_anchors || chosen[2 * i] >= 0);
    };
    for (int64_t i = 0; i < n; ++i) count += all_anchors || counts(i);
    const double overall = !mean ? 1 : count == 0 ? 0 : 1 / count;
    for (int64_t i = 0; i < n; ++i) {
      if (!counts(i)) continue;
      const int64_t p = chosen[2 * i], q = chosen[2 * i + 1];
      const double near = p < 0 ? 0 : distance(set, i, first + p, false);
      const double gap = near - distance(set, i, first + q, false) + kMargin;
      losses[i] = hinge == Hinge::kRelu ? std::max(0.0, gap) : math::softplus(gap);
      total += losses[i];
      const double slope = hinge == Hinge::kRelu ? gap > 0 : 1 / (1 + std::exp(-gap));
      const double f = slope * static_cast<double>(upstream[i]) * overall;
      if (p >= 0) add(i, first + p, f, gradient, size);
      add(i, first + q, -f, gradient, size);
    }
    // Places of a candidate in the choice, ascending.
    std::vector<int64_t> begin(m + 1), choosers;
    for (int64_t j = 0; j < m; ++j) {
      begin[j] = static_cast<int64_t>(choosers.size());
      for (int64_t at = 0; at < 2 * n; ++at) {
        if (chosen[at] == j) choosers.push_back(at);
      }
    }
    begin[m] = static_cast<int64_t>(choosers.size());
    const emulator::Uploaded<S> rows(runtime, {x.begin(), x.begin() + n * d});
    const emulator::Uploaded<S> others(runtime, {x.begin() + n * d, x.end()});
    const emulator::Uploaded<int64_t> choices(runtime, chosen), begins(runtime, begin);
    const emulator::Uploaded<int64_t> lists(runtime, choosers);
    const emulator::Uploaded<T> given(runtime, upstream);
    const device::ChosenOnDevice<S, T> in{n,
                                          m,
                                          d,
                                          rows.data(),
                                          set.itself ? rows.data() : others.data(),
                                          set.itself,
                                          choices.data(),
                                          set.similarity,
                                          {kMargin, hinge},
                                          all_anchors,
                                          given.data(),
                                          mean,
                                          mean};
    const device::Buffer<T> each(runtime, n), loss(runtime, 1);
    const device::Buffer<S> of_rows(runtime, n * d), of_others(runtime, set.k * d);
    device::chosen_forward<S, T>(runtime, in, each.data(), nullptr);
    device::chosen_forward<S, T>(runtime, in, nullptr, loss.data());
    device::chosen_backward<S, T>(runtime, in, begins.data(), lists.data(), of_rows.data(),
                                  set.itself ? nullptr : of_others.data());
    const double eps = std::is_same_v<T, double> ? 0x1p-50 : 0x1p-22;
    const double ulp = std::is_same_v<S, BFloat16>  ? 0x1p-8
                       : std::is_same_v<S, Float16> ? 0x1p-11
                                                    : eps;
    const auto got = emulator::download(each);
    for (int64_t i = 0; i < n; ++i) CHECK_CLOSE(static_cast<double>(got[i]), losses[i], eps);
    CHECK_CLOSE(static_cast<double>(emulator::download(loss)[0]), total * (mean ? overall : 1),
                4 * eps);
    auto out = emulator::download(of_rows);
    if (!set.itself) {
      const auto part = emulator::download(of_others);
      out.insert(out.end(), part.begin(), part.end());
    }
    for (size_t i = 0; i < out.size(); ++i) {
      check_error("gradient " + std::to_string(i), static_cast<double>(out[i]), gradient[i], 0,
                  ulp * std::abs(gradient[i]) + eps * size[i] + (sizeof(S) == 2 ? 0x1p-24 : 0));
    }
  }

  void add(int64_t i, int64_t j, double f, std::vector<double>& gradient,
           std::vector<double>& size) const {
    const double* const x_row = &set.x[i * set.d];
    const double* const y_row = &set.x[j * set.d];
    double xx = 0, yy = 0, xy = 0;
    for (int64_t c = 0; c < set.d; ++c) {
      xx += x_row[c] * x_row[c], yy += y_row[c] * y_row[c], xy += x_row[c] * y_row[c];
    }
    const double u = xx == 0 ? 0 : 1 / std::sqrt(xx), v = yy == 0 ? 0 : 1 / std::sqrt(yy);
    const double far = distance(set, i, j, false);
    for (int64_t c = 0; c < set.d; ++c) {
      const double a = x_row[c], b = y_row[c];
      double of_x = 2 * (a - b), of_y = -of_x;
      if (set.similarity == Similarity::kEuclidean) {
        of_x = far == 0 ? 0 : (a - b) / far;
        of_y = -of_x;
      } else if (set.similarity == Similarity::kDot) {
        of_x = -b, of_y = -a;
      } else if (set.similarity == Similarity::kCosine) {
        of_x = -u * (b * v - xy * u * v * a * u);
        of_y = -v * (a * u - xy * u * v * b * v);
      }
      gradient[i * set.d + c] += f * of_x, gradient[j * set.d + c] += f * of_y;
      size[i * set.d + c] += std::abs(f * of_x), size[j * set.d + c] += std::abs(f * of_y);
    }
  }

  Set set;
  std::vector<S> x;
  std::vector<int32_t> label;
  std::vector<int64_t> chosen;
};

template <class S>
void run_all() {
  for (const auto kind :
       {Similarity::kDot, Similarity::kEuclidean, Similarity::kSquaredEuclidean}) {
    On<S> own(any_set(131, 0, kind));
    own.test_choice(1 << 26, 0);
    own.test_gradient(Hinge::kSoftplus, false, true);
    On<S> others(any_set(70, 129, kind));
    others.test_choice(1 << 26, 0);
    others.test_gradient(Hinge::kRelu, true, false);
    if (kSanitized) continue;
    // Features that blocks share; an offset that distances do not see.
    On<S> wide(any_set(20, 0, kind, 131));
    for (int64_t i = 0; i < wide.set.n; ++i)
      wide.chosen.insert(wide.chosen.end(), {0, i % 3 ? i : -1});
    wide.test_gradient(Hinge::kSoftplus, true, true);
  }
  // A cosine has no exact ties: any choice of rows will do.
  On<S> cosine(any_set(40, 30, Similarity::kCosine, 7));
  for (int64_t i = 0; i < 40; ++i) cosine.chosen.insert(cosine.chosen.end(), {i % 30, i % 7 - 1});
  cosine.test_gradient(Hinge::kSoftplus, false, true);
  for (const int64_t n : {1, 2, 127}) {
    On<S> set(any_set(n, 0, Similarity::kDot));
    set.test_choice(1 << 26, 0);
    set.test_gradient(Hinge::kRelu, false, true);
  }
}

}  // namespace

int main() {
  return report_of([] {
    run_all<float>();
    run_all<BFloat16>();
    // Tiles of 64 × 64.
    On<float>(any_set(259, 0, Similarity::kDot)).test_choice(1 << 16, 0);
    On<float>(any_set(130, 195, Similarity::kSquaredEuclidean)).test_choice(1 << 16, 0);
    // A NaN is chosen by all whom it concerns.
    Set nan = any_set(130, 0, Similarity::kSquaredEuclidean);
    nan.x[7 * nan.d] = std::nan("");
    On<float>(nan).test_choice(1 << 26, 0);
    if constexpr (!kSanitized) {
      run_all<double>();
      run_all<Float16>();
      On<double>(nan).test_choice(1 << 16, 0);
      On<float>(any_set(1100, 0, Similarity::kDot, 1)).test_choice(1 << 20, 0.62);
    }
  });
}
