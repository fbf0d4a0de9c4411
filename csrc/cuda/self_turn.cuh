// SelfCuda: from tiles to gradients (included by self_passes.cuh).
#pragma once

#include "cuda/self.cuh"

namespace fastloss::device {

// What makes coefficients of tiles, and gradients of them.
template <class Loss, class S>
struct SelfCuda<Loss, S>::Work {
  static constexpr bool kShort = sizeof(S) == 2 && !kWide;
  static constexpr int64_t kFields = SelfKnown<Loss>::kFields;

  Work(const SelfCuda& engine, const Memory& memory, const Gradients& gradients)
      : distance(engine.distance()),
        widens(kWide && !distance),
        narrow(engine.runtime_, kShort && !distance ? memory.sizes.most : 0),
        wide_rows(engine.runtime_, widens ? engine.in_.n * engine.in_.d : 0),
        wide_others(engine.runtime_, widens ? engine.in_.k * engine.in_.d : 0),
        unit_place(engine.runtime_, 1),
        overall(engine.runtime_, 1),
        fields(engine.runtime_, !kPairs && engine.in_.itself ? kFields * engine.in_.n : 0),
        moments(engine.runtime_, gradients.scale != nullptr ? memory.sizes.sum_blocks : 0),
        sums(engine.runtime_, distance || kPairs ? engine.in_.n + engine.in_.k : 0),
        of_rows(engine.runtime_, distance || kPairs ? memory.sizes.sums_of_rows : 0),
        of_cols(engine.runtime_, distance ? memory.sizes.sums_of_cols : 0),
        weights(engine.runtime_, distance ? sums.size() : 0) {
    const auto& in = engine.in_;
    engine.over_items(moments.size(), fill<double>, moments.data(), moments.size(), 0.0);
    engine.over_items(sums.size(), fill<SelfSums>, sums.data(), sums.size(), SelfSums{});
    if constexpr (kWide) {
      if (!widens) return;
      engine.widen(engine.rows(), wide_rows.data());
      engine.widen(engine.others(), wide_others.data());
    } else if constexpr (kUnit<S> != 1.0) {
      if (narrow.size() == 0) return;
      launch(find_unit_of<T>, Grid{1}, kBlock, engine.runtime_.queue(), in.factor, in.n,
             static_cast<const T*>(nullptr), int64_t{0}, kUnit<S>, unit_place.data());
      unit.place = unit_place.data();
    }
  }

  // Rows of a side as they are multiplied with coefficients: of the same type.
  Matrix rows_of(const Side<S, T>& side, bool own, int64_t first, int64_t count) const {
    if (!widens) return side.rows(first, count);
    const T* const wide = own ? wide_rows.data() : wide_others.data();
    return {wide + first * side.d, kStored<T>, count, side.d, side.d};
  }

  bool distance, widens;
  Buffer<S> narrow;  // a tile of coefficients
  Buffer<T> wide_rows, wide_others;
  Buffer<T> unit_place, overall;
  Scalar<T> unit{T(1)};
  Buffer<T> fields;  // (kFields, n)
  Buffer<double> moments;
  Buffer<SelfSums> sums;  // (n + k)
  Buffer<SelfSums> of_rows, of_cols;
  Buffer<T> weights;  // (n + k): Σ w
  const Row* known = nullptr;
};

template <class Loss, class S>
void SelfCuda<Loss, S>::widen(const Side<S, T>& side, T* out) const {
  over_items(side.count * side.d, widen_self<S, T>, static_cast<const S*>(side.multiplied.data),
             side.multiplied.stride, side.count, side.d, out);
}

// A tile's products to coefficients.
template <class Loss, class S>
template <class W>
void SelfCuda<Loss, S>::turn(const SelfTile& tile, const T* products, W* out, const Work& work) {
  const SelfKnown<Loss> known{work.known, in_.factor, work.fields.data(), in_.n};
  const auto kernel = [&] {
    if constexpr (!std::is_same_v<W, T>) {
      return differentiate_self<Loss, false, S, W>;
    } else if constexpr (Work::kShort) {  // others than those of distances have 16 bits
      return differentiate_self<Loss, true, S, W>;
    } else {
      return work.distance ? differentiate_self<Loss, true, S, W>
                           : differentiate_self<Loss, false, S, W>;
    }
  }();
  over(Grid{cover(tile.cols, kSelfStrip), cover(tile.rows, kSelfRows)}, kernel, tile, products, out,
       scores_of(tile), loss_, known, work.unit,
       work.moments.size() > 0 ? work.moments.data() : nullptr, work.of_rows.data(),
       work.of_cols.data());
  if (work.sums.size() == 0) return;
  over(blocks_of(tile.rows + (work.distance ? tile.cols : 0)), merge_self<SelfSums>, tile,
       kSelfSumParts, work.of_rows.data(), work.distance ? work.of_cols.data() : nullptr,
       work.sums.data());
}

// … and these into the gradients.
template <class Loss, class S>
void SelfCuda<Loss, S>::differentiate(const SelfTile& tile, T* products, const Gradients& gradients,
                                      const Work& work) {
  Matrix w{products, kStored<T>, tile.rows, tile.cols, tile.stride};
  const bool narrows = Work::kShort && !work.distance;
  if (!narrows) turn(tile, products, products, work);
  if constexpr (Work::kShort) {
    if (narrows) {
      turn(tile, products, work.narrow.data(), work);
      w.data = work.narrow.data();
      w.type = kStored<S>;
    }
  }
  const int64_t d = in_.d;
  const Side<S, T>& side = tile.own ? rows() : others();
  if (gradients.rows != nullptr) {
    runtime_.multiply(w, work.rows_of(side, tile.own, tile.index, tile.cols),
                      gradients.rows + tile.row * d, d, true);
  }
  T* const of_side = tile.own ? gradients.rows : gradients.others;
  if (of_side != nullptr) {
    runtime_.multiply(w.flipped(), work.rows_of(rows(), true, tile.row, tile.rows),
                      of_side + tile.index * d, d, true);
  }
}

template <class Loss, class S>
void SelfCuda<Loss, S>::clear(const Gradients& gradients) {
  const auto zero = [this](T* values, int64_t count) {
    if (values != nullptr) over_items(count, fill<T>, values, count, T(0));
  };
  zero(gradients.rows, in_.n * in_.d);
  zero(gradients.others, in_.k * in_.d);
}

// The numbers that are one for all rows: the loss, the divisor, the gradient of the scale.
template <class Loss, class S>
void SelfCuda<Loss, S>::totals(const Row* rows, const Result& result, T* overall,
                               const Buffer<double>* moments) {
  const int64_t share = std::max<int64_t>(kBlock, cover(cover(in_.n, 256), kBlock) * kBlock);
  const int64_t parts = std::max<int64_t>(1, cover(in_.n, share));
  const Buffer<Totals> partial(runtime_, parts);
  launch(sum_self<Row, T>, Grid{parts}, kBlock, runtime_.queue(), rows, in_.factor, in_.counted,
         in_.n, share, moments != nullptr ? moments->data() : nullptr,
         moments != nullptr ? moments->size() : int64_t{0}, partial.data());
  launch(finish_totals<T>, Grid{1}, kWarp, runtime_.queue(), partial.data(), parts, in_.scale,
         in_.scale_divides, result.mean, overall, result.loss, result.gradients.scale,
         static_cast<T*>(nullptr));
}

template <class Loss, class S>
void SelfCuda<Loss, S>::forward(Row* rows, const Result& result) {
  forward(rows);
  const Buffer<T> overall(runtime_, 1);
  totals(rows, result, overall.data(), nullptr);
}

// From Σ w · (candidates) to gradients.
template <class Loss, class S>
void SelfCuda<Loss, S>::finish(const Row* rows, const Result& result, const Work& work) {
  totals(rows, result, work.overall.data(), &work.moments);
  const int64_t count = work.weights.size();
  over_items(count, weights_of_sums<SelfSums, T>, work.sums.data(), count, work.weights.data());
  const auto of_side = [&](const Side<S, T>& side, int64_t first, T* gradient) {
    if (gradient == nullptr) return;
    finish_gradient(runtime_, in_.similarity, in_.scale, work.overall.data(), work.unit, side,
                    work.distance ? work.weights.data() + first : nullptr, gradient);
  };
  of_side(this->rows(), 0, result.gradients.rows);
  of_side(others(), in_.n, result.gradients.others);
}

// What is known of rows, where tiles find it.
template <class Loss, class S>
void SelfCuda<Loss, S>::know(const Row* rows, Work& work) {
  work.known = rows;
  if constexpr (!kPairs) {
    if (work.fields.size() == 0) return;
    over(blocks_of(in_.n), spread_self<Loss>, rows, in_.n, work.fields.data(), in_.n);
  }
}

template <class Loss, class S>
void SelfCuda<Loss, S>::forward_gradient(Row* rows, const Result& result) {
  clear(result.gradients);
  const Plan plan = this->plan(true);
  const Memory memory(*this, plan, !kPairs);
  Work work(*this, memory, result.gradients);
  const int64_t step = std::max<int64_t>(1, this->step(plan));
  for (int64_t first = 0; first < in_.n; first += step) {
    const int64_t last = std::min(in_.n, first + step);
    if constexpr (!kPairs) {
      // 16-bit scores are the same here and there; of float rows they are rounded otherwise.
      const bool by_tiles = sizeof(S) == 2 && in_.itself && plan.kept == 0;
      if (!by_tiles || !push_by_tiles(memory.states.data())) {
        for_tiles(plan, first, last, [&](const SelfTile& tile, int64_t place) {
          multiply(tile, memory.at(place));
          push(tile, memory.at(place), memory);
        });
      }
      finish_rows(memory.states.data(), first, last, rows);
      know(rows, work);
    }
    for_tiles(plan, first, last, [&](const SelfTile& tile, int64_t place) {
      if (place < 0) multiply(tile, memory.at(place));
      differentiate(tile, memory.at(place), result.gradients, work);
    });
  }
  if constexpr (kPairs) {
    over(blocks_of(in_.n), finish_pairs<Loss>, loss_, work.sums.data(), in_.n, rows);
  }
  finish(rows, result, work);
}

template <class Loss, class S>
void SelfCuda<Loss, S>::backward(const Row* rows, const Result& result) {
  clear(result.gradients);
  Plan plan = this->plan(true);
  plan.kept = 0;
  const Memory memory(*this, plan, false);
  Work work(*this, memory, result.gradients);
  know(rows, work);
  for_tiles(plan, 0, in_.n, [&](const SelfTile& tile, int64_t place) {
    multiply(tile, memory.at(place));
    differentiate(tile, memory.at(place), result.gradients, work);
  });
  finish(rows, result, work);
}

}  // namespace fastloss::device
