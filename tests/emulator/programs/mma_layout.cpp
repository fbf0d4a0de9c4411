// The tensor-core kernels' shared memory by its address functions (csrc/cuda/mma_layout.h): bank
// conflicts of every access, sectors of device memory, and that every place is used exactly once.
//
// quick: plain
#include "cuda/mma_layout.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "fragments.h"

namespace {

using namespace fastloss;
using namespace fastloss::mma;

int failures = 0;
void expect(bool condition, const std::string& what) {
  if (condition) return;
  std::printf("mma_layout: %s\n", what.c_str());
  ++failures;
}

// Passes over the shared memory beyond the necessary ones when lane l of a warp accesses `bytes`
// bytes at place(l): 128 bytes a pass, that is 32, 16 or 8 lanes, each of 32 banks one word.
int conflicts(int bytes, const std::function<int(int)>& place) {
  const int together = 128 / (bytes < 4 ? 4 : bytes);
  int extra = 0;
  for (int first = 0; first < 32; first += together) {
    std::map<int, std::set<int>> words;  // of a bank
    for (int lane = first; lane < first + together; ++lane) {
      expect(place(lane) % bytes == 0, "an access is not aligned");
      for (int word = place(lane) / 4; word < (place(lane) + bytes + 3) / 4; ++word) {
        words[word % 32].insert(word);
      }
    }
    int most = 1;
    for (const auto& [bank, of] : words) most = std::max(most, static_cast<int>(of.size()));
    extra += most - 1;
  }
  return extra;
}

void free_of_conflicts(const char* what, int bytes, const std::function<int(int)>& place) {
  const int extra = conflicts(bytes, place);
  expect(extra == 0, std::string(what) + " has " + std::to_string(extra) + " bank conflicts");
}

void the_count_itself() {
  expect(conflicts(4, [](int lane) { return lane * 4; }) == 0, "a line has conflicts");
  expect(conflicts(4, [](int) { return 64; }) == 0, "one word for all has conflicts");
  expect(conflicts(4, [](int lane) { return lane * 8; }) == 1, "every second word has one");
  expect(conflicts(4, [](int lane) { return lane * 128; }) == 31, "one bank has 31");
  expect(conflicts(16, [](int lane) { return lane * kStepBytes; }) == 12,
         "chunks of rows of 64 bytes without a swizzle have 3 a phase");
}

void stages() {
  std::map<int, int> written;
  for (int warp = 0; warp < kThreads / 32; ++warp) {
    for (int copy = 0; copy < kCopies; ++copy) {
      const auto place = [=](int lane) {
        const int thread = warp * 32 + lane;
        return chunk_place(copied_row(thread), copied_chunk(thread)) +
               copy * (kSideBytes / kCopies);
      };
      free_of_conflicts("cp.async", 16, place);
      std::set<int64_t> sectors, lines;
      for (int lane = 0; lane < 32; ++lane) {
        const int thread = warp * 32 + lane;
        const int row = copied_row(thread) + copy * (kTile / kCopies);
        expect(place(lane) == chunk_place(row, copied_chunk(thread)), "a copy of another row");
        ++written[place(lane)];
        for (const int64_t stride : {1024, 4096}) {  // bytes from row to row
          sectors.insert((row * stride + copied_chunk(thread) * kChunk) / 32 + (stride << 32));
        }
      }
      expect(sectors.size() == 2 * 32 * kChunk / 32, "copies touch sectors that they do not use");
    }
  }
  expect(written.size() == kTile * kChunks, "not every chunk is copied");
  for (const auto& [place, times] : written) {
    expect(times == 1 && place >= 0 && place + kChunk <= kSideBytes, "a chunk is copied twice");
  }
}

// What ldmatrix hands to lane l as value v of matrix i, of 16-bit values, is what mma.sync expects.
void fragments() {
  using emulator::Place;
  for (int warp = 0; warp < kThreads / 32; ++warp) {
    for (int k = 0; k < kChunks; k += 2) {
      for (int i = 0; i < kDown; ++i) {
        free_of_conflicts("ldmatrix of queries", 16, [=](int lane) {
          return chunk_place(fragment_row(warp, i) + query_row(lane), k + query_chunk(lane));
        });
        // The kernel adds whole rows to the place of the first fragment's.
        for (int lane = 0; lane < 32; ++lane) {
          expect(chunk_place(query_row(lane), k + query_chunk(lane)) +
                         fragment_row(warp, i) * kStepBytes ==
                     chunk_place(fragment_row(warp, i) + query_row(lane), k + query_chunk(lane)),
                 "fragments of queries differ by more than rows");
        }
      }
      for (int j = 0; j < kAcross; j += 2) {
        free_of_conflicts("ldmatrix of keys", 16, [=](int lane) {
          return chunk_place(fragment_column(warp, j) + key_row(lane), k + key_chunk(lane));
        });
        for (int lane = 0; lane < 32; ++lane) {
          expect(chunk_place(key_row(lane), k + key_chunk(lane)) +
                         fragment_column(warp, j) * kStepBytes ==
                     chunk_place(fragment_column(warp, j) + key_row(lane), k + key_chunk(lane)),
                 "fragments of keys differ by more than rows");
        }
      }
    }
  }
  for (int matrix = 0; matrix < 4; ++matrix) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int v = 0; v < 2; ++v) {
        const Place at = emulator::place_matrix(lane, v);
        const int from = matrix * 8 + at.row;  // the lane that gave the address
        const Place a = emulator::place_a16(lane, matrix * 2 + v);
        expect(query_row(from) == a.row && query_chunk(from) * 8 + at.col == a.col,
               "a fragment of queries lies elsewhere");
        const Place b = emulator::place_b16(lane, matrix % 2 * 2 + v);
        expect(key_row(from) == b.col + matrix / 2 * 8 && key_chunk(from) * 8 + at.col == b.row,
               "a fragment of keys lies elsewhere");
      }
      // Floats: a chunk is four of them, a register one.
      const Place a = emulator::place_a32(lane, matrix);
      const int from = matrix * 8 + lane / 4;
      expect(query_row(from) == a.row && query_chunk(from) * 4 + lane % 4 == a.col,
             "a fragment of float queries lies elsewhere");
      const Place b = emulator::place_b32(lane, matrix % 2);
      expect(key_row(from) == b.col + matrix / 2 * 8 && key_chunk(from) * 4 + lane % 4 == b.row,
             "a fragment of float keys lies elsewhere");
    }
  }
}

void scores() {
  std::map<int, int> put, rows, columns;
  for (int warp = 0; warp < kThreads / 32; ++warp) {
    for (int i = 0; i < kDown; ++i) {
      for (int j = 0; j < kAcross; ++j) {
        for (int p = 0; p < 2; ++p) {
          const auto place = [=](int lane) {
            const int row = fragment_row(warp, i) + 8 * p + accumulator_row(lane);
            return 4 *
                   score_place(row % kHalf, fragment_column(warp, j) + accumulator_column(lane));
          };
          free_of_conflicts("putting accumulators", 8, place);
          for (int lane = 0; lane < 32; ++lane) {
            for (int e = 0; e < 2; ++e) {
              const int row = fragment_row(warp, i) + 8 * p + accumulator_row(lane);
              const emulator::Place c = emulator::place_c(lane, 2 * p + e);
              expect(
                  c.row == 8 * p + accumulator_row(lane) && c.col == accumulator_column(lane) + e,
                  "an accumulator lies elsewhere");
              expect(row / kHalf == i / 2, "a fragment is in the other half");
              ++put[row / kHalf * kHalf * kTile + place(lane) / 4 + e];
              expect(place(lane) / 4 + e ==
                         score_place(row % kHalf,
                                     fragment_column(warp, j) + accumulator_column(lane) + e),
                     "two neighbours are apart");
            }
          }
        }
      }
    }
    for (int s = 0; s < kTile / kRowParts; s += kSpan) {
      for (int c = 0; c < kSpan; c += 4) {
        const auto place = [=](int lane) {
          const int thread = warp * 32 + lane;
          return 4 * score_place(span_row(thread), span_part(thread) * (kTile / kRowParts) + s + c);
        };
        free_of_conflicts("a span of a row", 16, place);
        for (int lane = 0; lane < 32; ++lane) {
          for (int e = 0; e < 4; ++e) ++rows[place(lane) / 4 + e];
        }
      }
    }
    for (int s = 0; s < kHalf / kColumnParts; ++s) {
      const auto place = [=](int lane) {
        const int thread = warp * 32 + lane;
        return 4 * score_place(column_part(thread) * (kHalf / kColumnParts) + s, column_of(thread));
      };
      free_of_conflicts("a row of columns", 4, place);
      for (int lane = 0; lane < 32; ++lane) ++columns[place(lane) / 4];
    }
  }
  expect(put.size() == kTile * kTile, "not every score is put");
  expect(rows.size() == kHalf * kTile && columns.size() == kHalf * kTile, "a score is not seen");
  for (const auto* places : {&put, &rows, &columns}) {
    for (const auto& [place, times] : *places) expect(times == 1, "a score twice");
  }
  expect(rows.rbegin()->first < kHalf * kTile && rows.begin()->first == 0, "scores out of range");
  // States and statistics lie word by word, one a lane.
  free_of_conflicts("a word of the threads' states", 4, [](int lane) { return 4 * lane; });
}

void budget() {
  expect(kSharedBytes <= 48 * 1024, "more shared memory than a block has without asking");
  expect(kScoreBytes + 2 * kColumnBytes + kStateBytes == kSharedBytes && kStateBytes > 0,
         "the scores do not fit the stages");
}

}  // namespace

int main() {
  the_count_itself();
  stages();
  fragments();
  scores();
  budget();
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
