// The loops of the pointwise engine (see pointwise.h) on the CPU.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

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

template <class Loss, class T>
class RowsCpu {
 public:
  using Row = typename Loss::Row;
  using State = typename Loss::State;

  RowsCpu(const RowsInput<T>& input, Loss loss) : in_(input), loss_(loss) {}

  // Returns whether every target is in the loss's domain.
  bool forward(Row* rows) const {
    std::atomic<bool> inside{true};
    for_groups([this, rows, &inside](const Group& group, Tile& tile) FASTLOSS_SIMD_LOOP {
      State states[kGroup];
      for (int64_t g = 0; g < group.count; ++g) states[g] = State{};
      for_spans(group, tile, [&](const Spans& s) FASTLOSS_SIMD_LOOP {
        for (int64_t g = 0; g < group.count; ++g) {
          if (!takes(s, g)) inside = false;
          push(group, g, s, states[g]);
        }
      });
      for (int64_t g = 0; g < group.count; ++g) {
        rows[group.row + g] = finish(group, g, states[g]);
      }
    });
    return inside;
  }

  // gradient, laid out like the input, = upstream · ∂L/∂z; 0 in rows that are ignored.
  void backward(const Row* rows, const Upstream<T>& upstream, const Sink<T>& gradient) const {
    for_groups(
        [this, rows, &upstream, &gradient](const Group& group, Tile& tile) FASTLOSS_SIMD_LOOP {
          T scratch[kTile];
          for_spans(group, tile, [&](const Spans& s) FASTLOSS_SIMD_LOOP {
            const int64_t at = position(group.row, s.column);
            T* const out = in_.inner == 1 ? gradient.span(at, scratch) : scratch;
            for (int64_t g = 0; g < group.count; ++g) {
              derive(group, g, s, rows[group.row + g], upstream[group.row + g], out + g * s.stride);
            }
            if (in_.inner == 1) {
              gradient.store(at, s.count, out);
            } else {
              gradient.store_columns(at, in_.inner, group.count, s.count, out, s.stride);
            }
          });
        });
  }

 private:
  // Rows are read span by span, so that a span is in cache for all of its loops. Where the classes
  // of a row do not lie side by side, a group of neighbouring rows is turned, a tile at a time.
  static constexpr int64_t kGroup = 16;
  static constexpr int64_t kTile = 1024;
  static constexpr int64_t kTaskElements = 1 << 15;

  struct Group {
    int64_t row;
    int64_t count;
  };
  struct Spans {
    const T* z;
    const T* target;
    int64_t column;
    int64_t count;
    int64_t stride;  // between the group's rows
  };
  struct Tile {
    T z[kTile];
    T target[kTile];
  };

  int64_t position(int64_t row, int64_t column) const {
    return (row / in_.inner * in_.classes + column) * in_.inner + row % in_.inner;
  }

  bool ignored(int64_t row) const {
    return Loss::kTargetIsClass && in_.ignores && in_.target_class[row] == in_.ignored;
  }

  template <class Work>
  void for_groups(const Work& work) const {
    const int64_t most = in_.inner == 1 ? 1 : kGroup;
    const int64_t groups_an_outer = (in_.inner + most - 1) / most;
    const int64_t groups = in_.outer * groups_an_outer;
    const int64_t a_task = std::max<int64_t>(
        1, kTaskElements / std::max<int64_t>(1, in_.classes * std::min(most, in_.inner)));
    host::for_each_task((groups + a_task - 1) / a_task, [&](int64_t task, int64_t) {
      simd::dispatch([&, task]() FASTLOSS_SIMD_LOOP {
        Tile tile;
        const int64_t last = std::min(groups, (task + 1) * a_task);
        for (int64_t index = task * a_task; index < last; ++index) {
          const int64_t k = index % groups_an_outer * most;
          const int64_t row = index / groups_an_outer * in_.inner + k;
          work(Group{row, std::min(most, in_.inner - k)}, tile);
        }
      });
    });
  }

  template <class Work>
  FASTLOSS_HOST_DEVICE void for_spans(const Group& group, Tile& tile, const Work& work) const {
    const bool turned = in_.inner > 1;
    const int64_t stride = turned ? kTile / kGroup : kTile;
    for (int64_t column = 0; column < in_.classes; column += stride) {
      const int64_t count = std::min(stride, in_.classes - column);
      const int64_t at = position(group.row, column);
      const T* z = tile.z;
      const T* target = nullptr;
      if (turned) {
        in_.input.columns(at, in_.inner, group.count, count, tile.z, stride);
        if (!Loss::kTargetIsClass) {
          in_.target.columns(at, in_.inner, group.count, count, tile.target, stride);
          target = tile.target;
        }
      } else {
        if (ignored(group.row)) {
          std::fill_n(tile.z, count, T(0));
        } else {
          z = in_.input.span(at, count, tile.z);
        }
        if (!Loss::kTargetIsClass) target = in_.target.span(at, count, tile.target);
      }
      work(Spans{z, target, column, count, stride});
    }
  }

  FASTLOSS_HOST_DEVICE bool takes(const Spans& s, int64_t g) const {
    int outside = 0;
    if constexpr (!Loss::kTargetIsClass) {
      const T* __restrict target = s.target + g * s.stride;
#pragma omp simd reduction(| : outside)
      for (int64_t j = 0; j < s.count; ++j) outside |= !loss_.takes_target(target[j]);
    }
    return outside == 0;
  }

  FASTLOSS_HOST_DEVICE void push(const Group& group, int64_t g, const Spans& s,
                                 State& state) const {
    const T* const z = s.z + g * s.stride;
    if constexpr (Loss::kTargetIsClass) {
      if (ignored(group.row + g)) return;
      const int64_t own = in_.target_class[group.row + g] - s.column;
      if (own >= 0 && own < s.count) {
        const int64_t next = own + 1;
        if (own > 0) add(loss_.push(z, nullptr, s.column, own), s.column, state);
        if (next < s.count) {
          add(loss_.push(z + next, nullptr, s.column + next, s.count - next),
              own > 0 ? s.column + next : s.column, state);
        }
        return;
      }
      add(loss_.push(z, nullptr, s.column, s.count), s.column, state);
    } else {
      add(loss_.push(z, s.target + g * s.stride, s.column, s.count), s.column, state);
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

  FASTLOSS_HOST_DEVICE Row finish(const Group& group, int64_t g, const State& state) const {
    const int64_t row = group.row + g;
    if constexpr (Loss::kTargetIsClass) {
      if (ignored(row)) return Row{};
      const int64_t own = in_.target_class[row];
      return loss_.finish(state, in_.input[position(row, own)], own);
    } else {
      return loss_.finish(state);
    }
  }

  FASTLOSS_HOST_DEVICE void derive(const Group& group, int64_t g, const Spans& s, const Row& row,
                                   T factor, T* out) const {
    if (!row.counts()) {
      std::fill_n(out, s.count, T(0));
      return;
    }
    const T* const target = Loss::kTargetIsClass ? nullptr : s.target + g * s.stride;
    loss_.dscores(s.z + g * s.stride, target, s.column, s.count, row, factor, out);
    if constexpr (Loss::kTargetIsClass) {
      const int64_t own = in_.target_class[group.row + g] - s.column;
      if (own >= 0 && own < s.count) out[own] = factor * row.dtarget;
    }
  }

  const RowsInput<T>& in_;
  Loss loss_;
};

}  // namespace fastloss
