// The engine of labelled rows: losses of n anchors, each against all m candidates at once.
//
// Candidates with the label of an anchor are its *positives*, all others its *negatives*; an anchor
// is no candidate of its own. A loss is a functor (losses/batch_all_triplet_loss.h is the model)
// that meets one anchor at a time and gives
//     Value                           accumulation type T
//     row(RowPairs<T>&, dscore) const → what it says of the anchor, and in dscore[m], unless it is
//                                     null, ∂L/∂z by the similarities z. dscore is 0 before.
// RowPairs (row_pairs.h) knows the anchor's positives and negatives, and sums over their pairs —
// the triplets — without visiting them. In similarities a triplet's gap d_ap − d_an is z_an − z_ap
// whatever the similarity: z = −distance, and 1 − cos differs from −cos by what cancels.
// The engine guarantees: every anchor is met exactly once a pass, with all its candidates, also one
// that has no pair; reductions over anchors run in order.
#pragma once

#include <cstdint>

#include "engines/pairwise.h"

namespace fastloss {

// S is the stored type.
template <class S>
struct LabelledInput {
  int64_t n, m, d;
  const S* anchors;     // (n, d)
  const S* candidates;  // (m, d)
  bool itself;          // anchor i is candidate i
  // Candidates by label: same.order[same.begin[i] … same.end[i]) ascending have that of anchor i.
  KeyGroups same;
  int64_t most;  // the largest number of candidates of one label
  Similarity similarity;
  int64_t workspace;  // bytes
};

}  // namespace fastloss
