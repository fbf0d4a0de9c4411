// The loops of the pointwise engine (see pointwise.h) on the CPU.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/lanes.h"
#include "core/math.h"
#include "core/simd.h"
#include "engines/host.h"
#include "engines/pointwise.h"

namespace fastloss {

template <class Loss, class T>
class ElementsCpu {
 public:
  ElementsCpu(const ElementsInput<T>& input, Loss loss) : in_(input), loss_(loss) {}

  struct Sums {
    double loss = 0;
    double weight = 0;
    bool outside = false;  // some value is not in the loss's domain

    void add(const Sums& other) {
      loss += other.loss;
      weight += other.weight;
      outside |= other.outside;
    }
  };

  // Σ of the weighted losses, and of the weights; `each` (count), if not null, gets the losses.
  Sums forward(T* each) const {
    const host::Buffer<Sums> sums(tasks(), Sums{});
    for_spans([&sums, this, each](int64_t task, int64_t first, int64_t count,
                                  const Span& span) FASTLOSS_SIMD_LOOP {
      T values[kElementSpan];
      sums[task].add(value_span(span, count, each != nullptr ? each + first : values));
    });
    Sums total;
    for (int64_t task = 0; task < tasks(); ++task) total.add(sums[task]);
    return total;
  }

  // gradient = upstream · weight · derivative.
  void backward(const Upstream<T>& upstream, const Sink<T>& gradient) const {
    for_spans([&upstream, &gradient, this](int64_t, int64_t first, int64_t count, const Span& span)
                  FASTLOSS_SIMD_LOOP {
                    T scratch[kElementSpan];
                    T* const out = gradient.span(first, scratch);
                    gradient_span(span, count, upstream, first, out);
                    gradient.store(first, count, out);
                  });
  }

 private:
  static constexpr int64_t kTask = 16 * kElementSpan;

  // What is not given is an array of ones, so that no loop has a branch.
  struct Span {
    const T* input;
    const T* target;
    const T* weight;
    const T* positive_weight;
  };

  int64_t tasks() const { return (in_.count + kTask - 1) / kTask; }

  template <class Work>
  void for_spans(const Work& work) const {
    host::for_each_task(tasks(), [&](int64_t task, int64_t) {
      simd::dispatch([&, task]() FASTLOSS_SIMD_LOOP {
        T input[kElementSpan], target[kElementSpan], ones[kElementSpan];
        std::fill_n(ones, kElementSpan, T(1));
        const int64_t last = std::min(in_.count, (task + 1) * kTask);
        for (int64_t first = task * kTask; first < last; first += kElementSpan) {
          const int64_t count = std::min(kElementSpan, last - first);
          const T* const weight = in_.weight.from(first);
          const T* const positive_weight = in_.positive_weight.from(first);
          work(task, first, count,
               Span{in_.input.span(first, count, input), in_.target.span(first, count, target),
                    weight != nullptr ? weight : ones,
                    positive_weight != nullptr ? positive_weight : ones});
        }
      });
    });
  }

  FASTLOSS_HOST_DEVICE Sums value_span(const Span& span, int64_t count, T* __restrict out) const {
    const T* __restrict input = span.input;
    const T* __restrict target = span.target;
    const T* __restrict weight = span.weight;
    const T* __restrict positive_weight = span.positive_weight;
    const Loss functor = loss_;
    T loss = 0, weights = 0;
    int outside = 0;
#pragma omp simd reduction(+ : loss, weights) reduction(| : outside)
    for (int64_t i = 0; i < count; ++i) {
      const T value = functor.at(input[i], target[i], positive_weight[i]).value;
      outside |= !(Loss::takes_input(input[i]) & Loss::takes_target(target[i]));
      out[i] = weight[i] == T(0) ? T(0) : weight[i] * value;
      loss += out[i];
      weights += weight[i];
    }
    return {static_cast<double>(loss), static_cast<double>(weights), outside != 0};
  }

  FASTLOSS_HOST_DEVICE void gradient_span(const Span& span, int64_t count,
                                          const Upstream<T>& upstream, int64_t first,
                                          T* __restrict out) const {
    const T* __restrict input = span.input;
    const T* __restrict target = span.target;
    const T* __restrict weight = span.weight;
    const T* __restrict positive_weight = span.positive_weight;
    const Loss functor = loss_;
    const T all = upstream.all;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const T derivative = functor.at(input[i], target[i], positive_weight[i]).derivative;
      out[i] = weight[i] == T(0) ? T(0) : all * (weight[i] * derivative);
    }
    if (upstream.each == nullptr) return;
    const T* __restrict each = upstream.each + first;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) out[i] *= each[i];
  }

  const ElementsInput<T>& in_;
  Loss loss_;
};

// Rows of logits. Where a row's classes lie side by side and are many, loops run along the row,
// span by span, so that a span is in cache for all of them. All other rows are worked on side by
// side (core/lanes.h), a block of neighbouring ones at a time.
template <class Loss, class T>
class RowsCpu {
 public:
  using Row = typename Loss::Row;
  using State = typename Loss::State;

  RowsCpu(const RowsInput<T>& input, Loss loss) : in_(input), loss_(loss) {}

  // `rows`, (Row::kFields, rows), gets the results, rows side by side. Returns whether every target
  // is in the loss's domain.
  bool forward(T* rows) const {
    std::atomic<bool> inside{true};
    for_rows([this, rows, &inside](int64_t row, int64_t count) FASTLOSS_SIMD_LOOP {
      const bool taken =
          across() ? forward_across(row, count, rows + row) : forward_along(row, rows + row);
      if (!taken) inside = false;
    });
    return inside;
  }

  // gradient, laid out like the input, = upstream · ∂L/∂z; 0 in rows that are ignored.
  void backward(const T* rows, const Upstream<T>& upstream, const Sink<T>& gradient) const {
    for_rows([this, rows, &upstream, &gradient](int64_t row, int64_t count) FASTLOSS_SIMD_LOOP {
      if (across()) {
        backward_across(row, count, rows + row, upstream, gradient);
      } else {
        backward_along(row, Row::load(rows + row, in_.rows()), upstream[row], gradient);
      }
    });
  }

 private:
  static constexpr int64_t kSpan = 1024;
  static constexpr int64_t kShort = 256;  // up to here a row's beginning and end weigh more
  static constexpr int64_t kTile = kLanes * kLaneColumns;
  static constexpr int64_t kTaskElements = 1 << 15;

  bool across() const { return in_.inner > 1 || in_.classes <= kShort; }

  int64_t position(int64_t row, int64_t column) const {
    return (row / in_.inner * in_.classes + column) * in_.inner + row % in_.inner;
  }

  bool ignored(int64_t row) const {
    return Loss::kTargetIsClass && in_.ignores && in_.target_class[row] == in_.ignored;
  }

  // Calls work(row, count) for all rows, block by block.
  template <class Work>
  void for_rows(const Work& work) const {
    const int64_t rows = in_.rows(), block = across() ? kLanes : 1;
    const int64_t a_task =
        std::max<int64_t>(1, kTaskElements / (block * std::max<int64_t>(1, in_.classes))) * block;
    host::for_each_task((rows + a_task - 1) / a_task, [&](int64_t task, int64_t) {
      simd::dispatch([&, task]() FASTLOSS_SIMD_LOOP {
        const int64_t last = std::min(rows, (task + 1) * a_task);
        for (int64_t row = task * a_task; row < last; row += block) {
          work(row, std::min(block, last - row));
        }
      });
    });
  }

  FASTLOSS_HOST_DEVICE bool takes(const T* __restrict target, int64_t count) const {
    int outside = 0;
    if constexpr (!Loss::kTargetIsClass) {
#pragma omp simd reduction(| : outside)
      for (int64_t j = 0; j < count; ++j) outside |= !loss_.takes_target(target[j]);
    }
    return outside == 0;
  }

  // One row, along it.

  FASTLOSS_HOST_DEVICE bool forward_along(int64_t row, T* out) const {
    if (ignored(row)) {
      Row{}.store(out, in_.rows());
      return true;
    }
    State state;
    bool taken = true;
    T z_scratch[kSpan], target_scratch[kSpan];
    for (int64_t column = 0; column < in_.classes; column += kSpan) {
      const int64_t at = position(row, column), count = std::min(kSpan, in_.classes - column);
      const T* const z = in_.input.span(at, count, z_scratch);
      if constexpr (Loss::kTargetIsClass) {
        push_others(z, column, count, in_.target_class[row] - column, state);
      } else {
        const T* const target = in_.target.span(at, count, target_scratch);
        taken &= takes(target, count);
        add(loss_.push(z, target, column, count), column, state);
      }
    }
    if constexpr (Loss::kTargetIsClass) {
      const int64_t own = in_.target_class[row];
      loss_.finish(state, in_.input[position(row, own)], loss_.weight_of(own))
          .store(out, in_.rows());
    } else {
      loss_.finish(state).store(out, in_.rows());
    }
    return taken;
  }

  FASTLOSS_HOST_DEVICE void push_others(const T* z, int64_t column, int64_t count, int64_t own,
                                        State& state) const {
    if (own < 0 || own >= count) {
      add(loss_.push(z, nullptr, column, count), column, state);
      return;
    }
    const int64_t next = own + 1;
    if (own > 0) add(loss_.push(z, nullptr, column, own), column, state);
    if (next < count) {
      add(loss_.push(z + next, nullptr, column + next, count - next),
          own > 0 ? column + next : column, state);
    }
  }

  // Most rows are one span: merging it with nothing would take as long as a few logits do.
  FASTLOSS_HOST_DEVICE static void add(const State& span, int64_t column, State& state) {
    if (column == 0) {
      state = span;
    } else {
      state.merge(span);
    }
  }

  FASTLOSS_HOST_DEVICE void backward_along(int64_t row, const Row& result, T factor,
                                           const Sink<T>& gradient) const {
    T z_scratch[kSpan], target_scratch[kSpan], scratch[kSpan];
    for (int64_t column = 0; column < in_.classes; column += kSpan) {
      const int64_t at = position(row, column), count = std::min(kSpan, in_.classes - column);
      T* const out = gradient.span(at, scratch);
      if (!result.counts()) {
        std::fill_n(out, count, T(0));
      } else {
        const T* target = nullptr;
        if (!Loss::kTargetIsClass) target = in_.target.span(at, count, target_scratch);
        loss_.dscores(in_.input.span(at, count, z_scratch), target, column, count, result, factor,
                      out);
        if constexpr (Loss::kTargetIsClass) {
          const int64_t own = in_.target_class[row] - column;
          if (own >= 0 && own < count) out[own] = factor * result.dtarget;
        }
      }
      gradient.store(at, count, out);
    }
  }

  // A block of rows, across them.

  FASTLOSS_HOST_DEVICE bool forward_across(int64_t row, int64_t count, T* rows) const {
    T z[kTile], target[kTile];
    typename Loss::Lanes states;
    T own[kLanes] = {};  // the logits of the rows' classes
    bool taken = true;
    const int64_t lanes = lanes_for(count);
    for (int64_t column = 0; column < in_.classes; column += kLaneColumns) {
      const int64_t cols = std::min(kLaneColumns, in_.classes - column);
      load(row, count, column, cols, z, target);
      if constexpr (Loss::kTargetIsClass) {
        // Taken out of the row as a removed class is.
        for_own(row, count, column, cols, [&](int64_t r, int64_t at) FASTLOSS_SIMD_LOOP {
          own[r] = z[at];
          z[at] = -math::kInfinity<T>;
        });
      } else {
        for (int64_t c = 0; c < cols; ++c) taken &= takes(target + c * kLanes, count);
      }
      if (column == 0) {
        loss_.push_lanes(z, target, column, cols, lanes, states);
      } else {
        typename Loss::Lanes more;
        loss_.push_lanes(z, target, column, cols, lanes, more);
        for (int64_t r = 0; r < lanes; ++r) {
          State state = states[r];
          state.merge(more[r]);
          states.set(r, state);
        }
      }
    }
    T results[Row::kFields * kLanes];
    if constexpr (Loss::kTargetIsClass) {
      T weight[kLanes] = {};
      for (int64_t r = 0; r < count; ++r) {
        if (!ignored(row + r)) weight[r] = loss_.weight_of(in_.target_class[row + r]);
      }
      for (int64_t r = 0; r < lanes; ++r) {
        loss_.finish(states[r], own[r], weight[r]).store(results + r, kLanes);
      }
    } else {
      for (int64_t r = 0; r < lanes; ++r) loss_.finish(states[r]).store(results + r, kLanes);
    }
    for (int64_t r = 0; r < count; ++r) {
      if (ignored(row + r)) Row{}.store(results + r, kLanes);
    }
    for (int64_t k = 0; k < Row::kFields; ++k) {
      std::copy_n(results + k * kLanes, count, rows + k * in_.rows());
    }
    return taken;
  }

  FASTLOSS_HOST_DEVICE void backward_across(int64_t row, int64_t count, const T* rows,
                                            const Upstream<T>& upstream,
                                            const Sink<T>& gradient) const {
    T z[kTile], target[kTile], out[kTile];
    T results[Row::kFields * kLanes] = {};
    T factor[kLanes] = {};
    for (int64_t k = 0; k < Row::kFields; ++k) {
      std::copy_n(rows + k * in_.rows(), count, results + k * kLanes);
    }
    for (int64_t r = 0; r < count; ++r) factor[r] = upstream[row + r];
    const int64_t lanes = lanes_for(count);
    for (int64_t column = 0; column < in_.classes; column += kLaneColumns) {
      const int64_t cols = std::min(kLaneColumns, in_.classes - column);
      load(row, count, column, cols, z, target);
      loss_.dscores_lanes(z, target, column, cols, lanes, results, factor, out);
      if constexpr (Loss::kTargetIsClass) {
        for_own(row, count, column, cols, [&](int64_t r, int64_t at) FASTLOSS_SIMD_LOOP {
          out[at] = factor[r] * Row::load(results + r, kLanes).dtarget;
        });
      }
      for (int64_t r = 0; r < count; ++r) {
        if (Row::load(results + r, kLanes).counts()) continue;
        for (int64_t c = 0; c < cols; ++c) out[c * kLanes + r] = T(0);
      }
      store(gradient, row, count, column, cols, out);
    }
  }

  // Calls work(r, place in the tile) for the rows whose class is in it.
  template <class Work>
  FASTLOSS_HOST_DEVICE void for_own(int64_t row, int64_t count, int64_t column, int64_t cols,
                                    const Work& work) const {
    for (int64_t r = 0; r < count; ++r) {
      const int64_t own = in_.target_class[row + r] - column;
      if (own >= 0 && own < cols) work(r, own * kLanes + r);
    }
  }

  // Tiles of the logits and, where it is not a class, of the target. One loop for both: this is
  // long, and takes most of the time to compile.
  FASTLOSS_HOST_DEVICE void load(int64_t row, int64_t count, int64_t column, int64_t cols, T* z,
                                 T* target) const {
    const int64_t lanes = lanes_for(count);
    for (int64_t k = 0; k < (Loss::kTargetIsClass ? 1 : 2); ++k) {
      const Source<T>& source = k == 0 ? in_.input : in_.target;
      T* const tile = k == 0 ? z : target;
      for_runs(row, count, column, [&](int64_t r, int64_t run, int64_t at) FASTLOSS_SIMD_LOOP {
        source.tile(at, row_stride(), in_.inner, run, cols, tile + r);
      });
      for (int64_t c = 0; c < cols && count < lanes; ++c) {
        std::fill_n(tile + c * kLanes + count, lanes - count, T(0));
      }
    }
  }

  FASTLOSS_HOST_DEVICE void store(const Sink<T>& sink, int64_t row, int64_t count, int64_t column,
                                  int64_t cols, const T* tile) const {
    for_runs(row, count, column, [&](int64_t r, int64_t run, int64_t at) FASTLOSS_SIMD_LOOP {
      sink.store_tile(at, row_stride(), in_.inner, run, cols, tile + r);
    });
  }

  // From a row to the next of its run.
  int64_t row_stride() const { return in_.inner == 1 ? in_.classes : 1; }

  // Calls work(r, run, position) for the runs of rows r, r + 1, … of a block that lie evenly.
  template <class Work>
  FASTLOSS_HOST_DEVICE void for_runs(int64_t row, int64_t count, int64_t column,
                                     const Work& work) const {
    if (in_.inner == 1) return work(0, count, position(row, column));
    for (int64_t r = 0; r < count;) {
      const int64_t run = std::min(count - r, in_.inner - (row + r) % in_.inner);
      work(r, run, position(row + r, column));
      r += run;
    }
  }

  const RowsInput<T>& in_;
  Loss loss_;
};

}  // namespace fastloss
