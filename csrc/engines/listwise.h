// The listwise engine: losses of lists of scored, labelled items; padded lists with a mask and
// ragged lists with offsets are one thing to it.
//
// A list's kept items (where = true, or all between two offsets) are gathered into dense scratch,
// in order; masked ones are never read into arithmetic. A functor sees one list at a time:
//     Value, Options                 accumulation type T; what its constructor takes
// and either the loss of a whole list (losses/listnet_loss.h is the model),
//     list(ListItems, factor, gradient) → ListTotal
//                  fills factor · ∂value/∂score, T, unless null
//     count(ListItems) → double                 the count alone, for a list that holds NaN
// or the term of a pair of it (losses/ranknet_loss.h),
//     rules                                     a PairRules
//     pair(t) → PairTerm                        t = score_i − score_j, label_i > label_j
//     tie(t) → PairTerm                         label_i = label_j, with rules.ties_half; even in t
//                  (both may be asked for differences of other items too, which then weigh 0)
//     kLogistic, sweep() → SweepForm            the same term as pair_sweep.h sums it
// The engine guarantees for pairs: every pair of kept items enters once, with the weight of its
// higher-labelled item (a tie: the mean of both); sums and gradients accumulate in double beyond
// a tile of pairs; memory is O(list). For all: a list that holds a NaN never reaches `list` or
// `pair`, its value and gradient are NaN; the order of every sum depends on the list alone, not on
// the number of threads.
#pragma once

#include <cstdint>

#include "core/list_loss.h"

namespace fastloss {

enum class ListReduction : int { kMean, kSum, kNone, kMeanList };

// S is the stored type, T the accumulation type. Items are flat: a padded tensor's row by row.
template <class S, class T>
struct ListwiseInput {
  int64_t lists;
  int64_t length;          // of every list, unless there are offsets
  const int64_t* offsets;  // (lists + 1) or null
  const S* score;
  const T* label;
  const bool* where;     // null: all kept
  const T* weight;       // an item's; null: all 1
  const T* list_weight;  // (lists); null: all 1

  int64_t begin(int64_t list) const { return offsets ? offsets[list] : list * length; }
  int64_t end(int64_t list) const { return begin(list + 1); }
};

// A list at most this long is one task; a longer one is cut up among all threads.
constexpr int64_t kOneTask = 4096;

}  // namespace fastloss
