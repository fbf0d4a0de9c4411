// A tile of products ⟨q_i, k_j⟩ on the tensor cores: shared memory is filled by asynchronous copies
// some steps ahead, ldmatrix takes fragments out of it, mma.sync multiplies them. bf16 and fp16
// enter as they are, floats rounded to tf32; all accumulate in float, in the order of the features.
#pragma once

#include <cstring>
#include <type_traits>

#include "cuda/device.h"
#include "cuda/mma_layout.h"

namespace fastloss::mma {

// What the tensor cores make of a stored type.
template <class S>
using Input = std::conditional_t<std::is_same_v<S, float>, device::TF32, S>;

// `count` rows of stored values, `stride` values apart, every row at a multiple of 16 bytes. What
// lies between the features and the next row is never read.
template <class S>
struct Rows {
  const S* data;
  int64_t count, stride;
};

// This thread's share of the copies of one side.
template <class S>
class Copier {
 public:
  FASTLOSS_DEVICE Copier(const Rows<S>& rows, int64_t first, int64_t d) {
    const int chunk = copied_chunk(device::thread());
    const int64_t row = first + copied_row(device::thread());
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int64_t from = row + i * (kTile / kCopies);
      inside_[i] = from < rows.count;
      source_[i] = reinterpret_cast<const unsigned char*>(rows.data +
                                                          (inside_[i] ? from : 0) * rows.stride) +
                   chunk * kChunk;
    }
    left_ = static_cast<int>(d * static_cast<int64_t>(sizeof(S))) - chunk * kChunk;
    place_ = chunk_place(copied_row(device::thread()), chunk);
  }

  // Starts the copies of the next step to `side`. Past the rows, or the end of a row, zeros are
  // written and nothing is read.
  FASTLOSS_DEVICE void start(unsigned char* side) {
    const int bytes = left_ < 0 ? 0 : left_ < kChunk ? left_ : kChunk;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      device::copy_async(side + place_ + i * (kSideBytes / kCopies), source_[i],
                         inside_[i] ? bytes : 0);
      source_[i] += kStepBytes;
    }
    left_ -= kStepBytes;
  }

 private:
  const unsigned char* source_[kCopies];
  bool inside_[kCopies];
  int left_;   // bytes of the row from this thread's chunk on
  int place_;  // half a tile below, the place is the same but for the rows in between
};

template <class S>
FASTLOSS_DEVICE void round_operands(uint32_t (&words)[4]) {
  if constexpr (std::is_same_v<S, float>) {
#pragma unroll
    for (uint32_t& word : words) {
      float value;
      memcpy(&value, &word, sizeof value);
      word = device::to_tf32(value);
    }
  }
}

// The products of this warp's fragments over the features of one stage.
template <class S>
FASTLOSS_DEVICE void multiply_stage(const unsigned char* stage, float (&acc)[kDown][kAcross][4]) {
  const int lane = device::lane(), warp = device::warp();
#pragma unroll
  for (int k = 0; k < kChunks; k += 2) {
    // Fragments begin at multiples of 8 rows: their rows' places differ by whole rows.
    const unsigned char* const query =
        stage + chunk_place(query_row(lane), k + query_chunk(lane)) + warp / 4 * 32 * kStepBytes;
    const unsigned char* const key = stage + kSideBytes +
                                     chunk_place(key_row(lane), k + key_chunk(lane)) +
                                     fragment_column(warp, 0) * kStepBytes;
    uint32_t a[kDown][4], b[kAcross / 2][4];
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      device::load_matrices(a[i], query + fragment_row(0, i) * kStepBytes);
      round_operands<S>(a[i]);
    }
#pragma unroll
    for (int j = 0; j < kAcross / 2; ++j) {
      device::load_matrices(b[j], key + j * 16 * kStepBytes);
      round_operands<S>(b[j]);
    }
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        const uint32_t pair[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        device::multiply<Input<S>>(acc[i][j], a[i], pair);
      }
    }
  }
}

// acc = the fragments of the tile from query `row` and key `column` on. All threads of the block;
// afterwards `memory` (kSharedBytes) is free again.
//
// One barrier a step closes two races: the copies of this step have arrived for all threads, and
// all have left the buffer that the next copies go to, the one of the step before.
template <class S>
FASTLOSS_DEVICE void multiply_tile(const Rows<S>& query, int64_t row, const Rows<S>& key,
                                   int64_t column, int64_t d, unsigned char* memory,
                                   float (&acc)[kDown][kAcross][4]) {
#pragma unroll
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[i][j][e] = 0;
    }
  }
  Copier<S> queries(query, row, d), keys(key, column, d);
  const int steps =
      static_cast<int>((d * static_cast<int64_t>(sizeof(S)) + kStepBytes - 1) / kStepBytes);
  // Groups are committed even when empty, so that their number tells which step has arrived.
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) {
      queries.start(memory + stage * kStageBytes);
      keys.start(memory + stage * kStageBytes + kSideBytes);
    }
    device::commit_copies();
  }
  int now = 0, next = kStages - 1;
  for (int step = 0; step < steps; ++step) {
    device::wait_copies<kStages - 2>();
    device::barrier();
    if (step + kStages - 1 < steps) {
      queries.start(memory + next * kStageBytes);
      keys.start(memory + next * kStageBytes + kSideBytes);
    }
    device::commit_copies();
    multiply_stage<S>(memory + now * kStageBytes, acc);
    now = now + 1 < kStages ? now + 1 : 0;
    next = next + 1 < kStages ? next + 1 : 0;
  }
  device::barrier();
}

}  // namespace fastloss::mma
