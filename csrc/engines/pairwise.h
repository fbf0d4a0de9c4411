// The pairwise engine: losses of the n × m scores of two embedding sets, the matrix never stored.
//
// Score s_ij = z_ij + bias_j with z the scaled similarity (similarity.h). A row i may have one
// *target* column, else its target is −1; the target's score has `margin` taken off the
// similarity. The columns of the target's group (keys with the target's id) leave the row, all but
// the target itself. A row may own h further keys beside the shared ones (`negatives`).
//
// A loss is a functor (losses/info_nce.h is the model) that gives
//     Value               accumulation type T
//     State               monoid over the scores of a row without the target's; State{} is empty
//     Row                 plain struct of T: the row's value and what dscore needs; counts()
//     push(z, bias, column, count) const → State       one span of a row, from `column` on; masked
//                                                      scores are −inf
//     finish(State, target_score, target) const → Row  also fills Row::dtarget = ∂L/∂s_target
//     dscores(z, bias, column, count, Row, factor, out)   factor · ∂L/∂s of every other score of a
//                                                      span; 0 for −inf
//     weighs(), weigh(…), weigh_factor(…)              short cut: ∂L/∂s = weight · row factor
//     kOwnsNegatives              whether rows may own negatives; absent: no
// A symmetric loss is one of rows and of columns, the targets being the diagonal. Its functor
// serves both and also gives
//     push_columns(tile, stride, rows, cols, State*)     merges a tile into its columns' states
//     add_columns(score, fields, stride, factor, count, dscore)   adds the columns' derivatives
// A loss without a normaliser, where ∂L/∂s depends on its own score alone (losses/siglip_loss.h) or
// on the target's too (in_batch_loss.h), gives instead of push, dscores and weigh
//     kTargetFirst                whether the target's score is needed by the others: the targets
//                                 are then the diagonal, and `dtarget` is known last
//     slopes(z, count, target_score, dscore) const → State      what a span adds to its row, and
//                                 its ∂L/∂s; masked scores add nothing
// and rows with `moment`, Σ ∂L/∂s · z, and, if all scores may be shifted by a number, with `slope`,
// Σ ∂L/∂s.
//
// The engine guarantees: every kept pair reaches exactly one push per forward pass and exactly one
// dscore (or weigh) per gradient pass, or exactly one slopes per pass; masks are written before the
// functor sees a span; spans are at most kMaxTileCols long; all reductions run in a fixed order.
#pragma once

#include <cstdint>

#include "engines/similarity.h"

namespace fastloss {

constexpr int64_t kTileRows = 128;
constexpr int64_t kMaxTileCols = 256;

// Keys by id: the columns order[begin[j] … end[j]) ascending are those with the id of column j.
// Without ids (order = nullptr) every column is alone.
struct KeyGroups {
  const int64_t* order = nullptr;
  const int64_t* begin = nullptr;
  const int64_t* end = nullptr;
};

// S is the stored type, T the accumulation type.
template <class S, class T>
struct PairwiseInput {
  int64_t n, m, d, h;
  const S* query;         // (n, d)
  const S* key;           // (m, d)
  const S* negatives;     // (n, h, d)
  const T* key_bias;      // (m) or null
  const int64_t* target;  // (n), each in [0, m), or −1: no target
  KeyGroups groups;
  Similarity similarity;
  T scale;  // > 0
  T margin;
  int64_t workspace;  // bytes
};

// Gradients of overall · Σ_i row_grad_i · L_i; null = not wanted.
template <class T>
struct PairwiseGradients {
  T* query = nullptr;       // (n, d)
  T* key = nullptr;         // (m, d)
  T* key_bias = nullptr;    // (m)
  double* scale = nullptr;  // ∂/∂scale
  double* shift = nullptr;  // ∂/∂(a number added to all scores)
  // ∂/∂negatives_ih = own[i][h][0] · (query_i − own[i][h][1] · negatives_ih)
  T* own = nullptr;  // (n, h, 2)

  bool any() const { return query || key || key_bias || scale || shift || own; }
  PairwiseGradients of_operands() const { return {.query = query, .key = key}; }
};

template <class Loss>
concept OnePass = requires { &Loss::slopes; };
template <class Loss>
concept TargetFirst = OnePass<Loss> && Loss::kTargetFirst;
template <class Loss>
concept OwnsNegatives = Loss::kOwnsNegatives;

}  // namespace fastloss
