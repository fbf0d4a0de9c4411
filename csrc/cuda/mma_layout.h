// Where the tensor-core kernels keep their tiles in shared memory, and which thread touches what:
// plain functions of indices, so that a test can count the bank conflicts of every access without a
// GPU (tests/emulator/programs/mma_layout.cpp).
//
// A block makes kTile × kTile scores. The features of its rows pass through kStages buffers,
// kStepBytes of every row at a time; afterwards the same memory holds half of the scores at a time.
#pragma once

#include "core/host_device.h"

namespace fastloss::mma {

constexpr int kTile = 128;
constexpr int kThreads = 256;  // 8 warps, 2 down × 4 across: each makes 64 × 32 scores
constexpr int kBlocks = 2;     // to fit a multiprocessor: 128 registers a thread

constexpr int kStages = 3;
constexpr int kStepBytes = 64;  // of a row: two steps of mma.sync
constexpr int kChunk = 16;      // what cp.async and ldmatrix move
constexpr int kChunks = kStepBytes / kChunk;
constexpr int kSideBytes = kTile * kStepBytes;
constexpr int kStageBytes = 2 * kSideBytes;  // queries, then keys
constexpr int kSharedBytes = kStages * kStageBytes;

// The byte of a side where chunk `chunk` of row `row` begins. A row is half a line of 32 banks;
// ldmatrix reads one chunk of eight rows, which would be in two places of the line without the
// exclusive or: with it they are in all eight.
FASTLOSS_HOST_DEVICE constexpr int chunk_place(int row, int chunk) {
  return row * kStepBytes + ((chunk ^ (row >> 1 & 3)) * kChunk);
}

// A thread copies this chunk of this row, and of the row half a tile below: eight threads fill a
// line, four read 64 neighbouring bytes of device memory.
FASTLOSS_HOST_DEVICE constexpr int copied_chunk(int thread) { return thread % kChunks; }
FASTLOSS_HOST_DEVICE constexpr int copied_row(int thread) { return thread / kChunks; }
constexpr int kCopies = kTile / (kThreads / kChunks);

// The four 8 × 8 matrices of an ldmatrix, each eight rows of a chunk. Of queries (a 16 × 16-bit or
// 16 × 8-float fragment) they go down, then along the features; of keys along, then down.
FASTLOSS_HOST_DEVICE constexpr int query_row(int lane) { return lane % 16; }
FASTLOSS_HOST_DEVICE constexpr int query_chunk(int lane) { return lane / 16; }
FASTLOSS_HOST_DEVICE constexpr int key_row(int lane) { return lane % 8 + lane / 16 * 8; }
FASTLOSS_HOST_DEVICE constexpr int key_chunk(int lane) { return lane / 8 % 2; }

// A warp's fragments: kDown of 16 rows and kAcross of 8 columns. The first two are in the upper
// half of the tile, the others in the lower one, because scores are looked at half a tile at a
// time.
constexpr int kDown = 4;
constexpr int kAcross = 4;
constexpr int kHalf = kTile / 2;
FASTLOSS_HOST_DEVICE constexpr int fragment_row(int warp, int i) {
  return i / 2 * kHalf + warp / 4 * 32 + i % 2 * 16;
}
FASTLOSS_HOST_DEVICE constexpr int fragment_column(int warp, int j) {
  return warp % 4 * 32 + j * 8;
}

// An accumulator fragment: pair p of a lane is two neighbouring columns of row 8 p +
// accumulator_row.
FASTLOSS_HOST_DEVICE constexpr int accumulator_row(int lane) { return lane / 4; }
FASTLOSS_HOST_DEVICE constexpr int accumulator_column(int lane) { return lane % 4 * 2; }

// The float where the score of a row and column of half a tile lies. Three accesses are free of
// conflicts: pairs of columns of four rows as accumulators hold them, four columns of eight rows,
// and 32 columns of a row.
FASTLOSS_HOST_DEVICE constexpr int score_place(int row, int column) {
  const int turn = row % 4 * 2 + row / 4 % 2;
  return row * kTile + ((column / 4 ^ turn) * 4 + column % 4);
}

// Rows are looked at by lanes, a quarter of the columns each, kSpan at a time; columns likewise, by
// lanes, half of the rows each.
constexpr int kSpan = 16;
constexpr int kRowParts = 4;
constexpr int kColumnParts = 2;
FASTLOSS_HOST_DEVICE constexpr int span_row(int thread) { return thread % kHalf; }
FASTLOSS_HOST_DEVICE constexpr int span_part(int thread) { return thread / kHalf; }
FASTLOSS_HOST_DEVICE constexpr int column_of(int thread) { return thread % kTile; }
FASTLOSS_HOST_DEVICE constexpr int column_part(int thread) { return thread / kTile; }

// Behind the scores: what belongs to the tile's columns, then states on their way to their owner.
constexpr int kScoreBytes = kHalf * kTile * 4;
constexpr int kColumnBytes = kTile * 4;  // a statistic; the same again for a bias
constexpr int kStateBytes = kSharedBytes - kScoreBytes - 2 * kColumnBytes;

}  // namespace fastloss::mma
