// Losses of one chosen triplet an anchor: its distances to a positive and to a negative, both rows
// of the candidates. O(n · d), whatever the choice cost.
//
// The gradient is sparse: an anchor moves itself and the two rows it has chosen. Every row of the
// result collects, in the order of anchors, what the anchors that chose it give: nothing is added
// to from two sides, and no order depends on timing. Distances are formed of differences, with sums
// in double (row_distance.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/element.h"
#include "core/simd.h"
#include "engines/host.h"
#include "engines/row_distance.h"
#include "engines/values.h"

namespace fastloss {

template <class Loss, class T>
struct ChosenTriplets {
  struct Choice {
    int64_t positive, negative;  // candidates, −1: there is none
  };

  Source<T> anchors, candidates;  // (n, d), (m, d)
  int64_t n, m, d;
  bool itself;            // the anchors are the candidates: their gradient is one
  const Choice* choices;  // (n)
  RowDistance<T> between;
  Loss loss;
  bool all;  // an anchor without a positive has distance 0 to it; it has no loss otherwise

  // Whether anchor i has a loss.
  bool counts(int64_t i) const {
    return choices[i].negative >= 0 && (all || choices[i].positive >= 0);
  }

  // losses (n).
  void forward(T* losses) const {
    for_rows(n, [&](int64_t i, T* scratch) {
      losses[i] = counts(i) ? static_cast<T>(at(i, scratch).value) : T(0);
    });
  }

  // gradient = Σ_i factor(i) · ∂L_i/∂(anchors, candidates), where its data is not null; of the
  // anchors alone if they are the candidates.
  template <class Factor>
  void backward(const Factor& factor, const Sink<T>& of_anchors,
                const Sink<T>& of_candidates) const {
    const host::Buffer<double> slopes(n);  // ∂L/∂d₊ = −∂L/∂d₋
    for_rows(n, [&](int64_t i, T* scratch) {
      slopes[i] = counts(i) ? factor(i) * at(i, scratch).derivative : 0;
    });
    const Choosers choosers(*this);
    if (of_anchors.data != nullptr) {
      for_rows(n, [&](int64_t i, T* scratch) {
        T* const out = begin(of_anchors, i, scratch);
        add_own(i, slopes.data(), scratch, out);
        if (itself) add_chosen(i, choosers, slopes.data(), scratch, out);
        of_anchors.store(i * d, d, out);
      });
    }
    if (of_candidates.data != nullptr) {
      for_rows(m, [&](int64_t j, T* scratch) {
        T* const out = begin(of_candidates, j, scratch);
        add_chosen(j, choosers, slopes.data(), scratch, out);
        of_candidates.store(j * d, d, out);
      });
    }
  }

 private:
  // Which anchors have chosen a candidate, as positive (2i) or as negative (2i + 1), ascending.
  struct Choosers {
    host::Buffer<int64_t> begin;  // (m + 1)
    host::Buffer<int64_t> anchor;

    explicit Choosers(const ChosenTriplets& of) : begin(of.m + 2, 0), anchor(2 * of.n) {
      const auto each = [&](const auto& visit) {
        for (int64_t i = 0; i < of.n; ++i) {
          if (of.choices[i].positive >= 0) visit(of.choices[i].positive, 2 * i);
          if (of.choices[i].negative >= 0) visit(of.choices[i].negative, 2 * i + 1);
        }
      };
      // Counted two places on, summed, and moved on by filling in: begin[j] is where j begins.
      each([&](int64_t candidate, int64_t) { ++begin[candidate + 2]; });
      for (int64_t j = 0; j < of.m; ++j) begin[j + 2] += begin[j + 1];
      each([&](int64_t candidate, int64_t by) { anchor[begin[candidate + 1]++] = by; });
    }
  };

  static constexpr int64_t kTaskFeatures = 1 << 15;

  // work(row, scratch) with room for three rows.
  template <class Work>
  void for_rows(int64_t rows, const Work& work) const {
    const int64_t step = std::max<int64_t>(1, kTaskFeatures / d);
    const host::Buffer<T> scratch(host::threads() * 3 * d);
    host::for_each_task((rows + step - 1) / step, [&](int64_t task, int64_t slot) {
      for (int64_t i = task * step; i < std::min(rows, (task + 1) * step); ++i) {
        work(i, scratch.data() + slot * 3 * d);
      }
    });
  }

  const T* anchor(int64_t i, T* scratch) const { return anchors.span(i * d, d, scratch + d); }
  const T* candidate(int64_t j, T* scratch) const {
    return candidates.span(j * d, d, scratch + 2 * d);
  }

  T* begin(const Sink<T>& gradient, int64_t row, T* scratch) const {
    T* const out = gradient.span(row * d, scratch);
    std::fill_n(out, d, T(0));
    return out;
  }

  double distance(const T* x, int64_t j, T* scratch) const {
    return j < 0 ? 0 : between.measure(x, candidate(j, scratch), d).distance;
  }
  Element<double> at(int64_t i, T* scratch) const {
    const T* const x = anchor(i, scratch);
    const double positive = distance(x, choices[i].positive, scratch);
    return loss.at(positive, distance(x, choices[i].negative, scratch));
  }

  // What anchor i does to itself.
  void add_own(int64_t i, const double* slopes, T* scratch, T* out) const {
    const double slope = slopes[i];
    if (slope == 0) return;
    const T* const x = anchor(i, scratch);
    const auto add = [&](int64_t j, double factor) {
      if (j < 0) return;
      const T* const y = candidate(j, scratch);
      between.add_first(between.measure(x, y, d), factor, x, y, d, out);
    };
    add(choices[i].positive, slope);
    add(choices[i].negative, -slope);
  }

  // What those that have chosen candidate j do to it.
  void add_chosen(int64_t j, const Choosers& choosers, const double* slopes, T* scratch,
                  T* out) const {
    const T* const y = candidate(j, scratch);
    for (int64_t k = choosers.begin[j]; k < choosers.begin[j + 1]; ++k) {
      const int64_t i = choosers.anchor[k] / 2;
      const double slope = choosers.anchor[k] % 2 == 0 ? slopes[i] : -slopes[i];
      if (slope == 0) continue;
      const T* const x = anchor(i, scratch);
      between.add_second(between.measure(x, y, d), slope, x, y, d, out);
    }
  }
};

}  // namespace fastloss
