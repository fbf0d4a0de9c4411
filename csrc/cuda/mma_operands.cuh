// The operands of the tensor-core kernels, from those of the library's products (operands.cuh):
// rows at multiples of 16 bytes, read in place where they lie so.
//
// Distances of 16-bit rows are taken of the rows as stored and not of the centred copies, which are
// float and would have to be rounded: 16-bit products are exact. Far from the origin more pairs are
// then close (kDirectDistance) and recomputed from their difference, which is right, but slow.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/mma_scores.cuh"
#include "cuda/operands.cuh"
#include "cuda/reduce.cuh"
#include "cuda/runtime.h"

namespace fastloss::mma {

template <class S>
constexpr bool kHasTiles = !std::is_same_v<S, double>;

// A row a warp: copies it, unless `copy` is null, and fills its squared norm, unless `norm` is.
template <class S>
FASTLOSS_KERNEL(device::kBlock, 4)
void align_rows(const S* rows, int64_t count, int64_t d, S* copy, int64_t stride, float* norm) {
  const int64_t i = device::block().x * device::kWarpsOfBlock + device::warp();
  if (i >= count) return;
  float sum = 0;
  for (int64_t c = device::lane(); c < d; c += device::kWarp) {
    const S value = rows[i * d + c];
    if (copy != nullptr) copy[i * stride + c] = value;
    sum += static_cast<float>(value) * static_cast<float>(value);
  }
  sum = device::warp_sum(sum);
  if (norm != nullptr && device::lane() == 0) norm[i] = sum;
}

template <class S>
class AlignedSide {
 public:
  AlignedSide(device::Runtime& runtime, Similarity kind, const device::Side<S, float>& side)
      : copy_(runtime, needs_copy(kind, side) ? side.count * stride(side.d) : 0),
        norm_(runtime, needs_norm(kind) ? side.count : 0),
        stored_{side.stored, side.count, side.d},
        rows_(stored_),
        statistic_(needs_norm(kind) ? norm_.data() : side.statistic) {
    const bool copies = needs_copy(kind, side);
    if (copies) {
      rows_ = {copy_.data(), side.count, stride(side.d)};
    } else if (has_prepared(kind)) {
      rows_ = {static_cast<const S*>(side.multiplied.data), side.count, side.multiplied.stride};
    }
    if (!copies && !needs_norm(kind)) return;
    device::launch(align_rows<S>, {device::cover(side.count, device::kWarpsOfBlock)},
                   device::kBlock, runtime.queue(), side.stored, side.count, side.d,
                   copies ? copy_.data() : nullptr, rows_.stride,
                   needs_norm(kind) ? norm_.data() : nullptr);
  }

  const Rows<S>& rows() const { return rows_; }
  const Rows<S>& stored() const { return stored_; }
  const float* statistic() const { return statistic_; }

 private:
  // Whether the library's copy has the type S.
  static bool has_prepared(Similarity kind) {
    return kind == Similarity::kCosine || (is_distance(kind) && std::is_same_v<S, float>);
  }
  static bool needs_norm(Similarity kind) { return is_distance(kind) && !has_prepared(kind); }
  static bool needs_copy(Similarity kind, const device::Side<S, float>& side) {
    return !has_prepared(kind) &&
           (side.d != stride(side.d) || reinterpret_cast<uintptr_t>(side.stored) % kChunk != 0);
  }
  static int64_t stride(int64_t d) {
    constexpr int64_t kValues = kChunk / sizeof(S);
    return device::cover(d, kValues) * kValues;
  }

  device::Buffer<S> copy_;
  device::Buffer<float> norm_;
  Rows<S> stored_, rows_;
  const float* statistic_;
};

template <class S>
class AlignedOperands {
 public:
  AlignedOperands(device::Runtime& runtime, Similarity kind, const device::Side<S, float>& query,
                  const device::Side<S, float>& key)
      : kind_(kind), query_(runtime, kind, query), key_(runtime, kind, key), d_(query.d) {}

  Products<S> products(const device::Scalar<float>& scale) const { return of(query_, key_, scale); }
  // The keys with themselves.
  Products<S> products_of_keys(const device::Scalar<float>& scale) const {
    return of(key_, key_, scale);
  }
  // The keys, as rows, with the queries.
  Products<S> products_turned(const device::Scalar<float>& scale) const {
    return of(key_, query_, scale);
  }

 private:
  Products<S> of(const AlignedSide<S>& query, const AlignedSide<S>& key,
                 const device::Scalar<float>& scale) const {
    return {query.rows(),    key.rows(),     d_,          kind_, scale, query.statistic(),
            key.statistic(), query.stored(), key.stored()};
  }

  Similarity kind_;
  AlignedSide<S> query_, key_;
  int64_t d_;
};

}  // namespace fastloss::mma
