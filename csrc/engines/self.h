// The engine of one set against itself: losses of the scores of n rows with each other, and of the
// same rows with k others beside, the matrix never stored.
//
// The *candidates* of a row are the other rows and the others; a loss that compares the rows with
// the others alone has no rows among them (`itself` = false). Candidates are counted through: row j
// is candidate j, other j is candidate n + j. Scores are similarities (similarity.h). s_ij = s_ji
// is computed once and serves both rows: of the square, only the tiles on and above the diagonal
// are visited.
//
// A loss is a functor (losses/nt_xent.h and losses/sup_con.h are the models) that gives
//     Value               accumulation type T
//     State               monoid over the scores of a row; State{} is empty
//     Row                 plain struct of T: the row's value and what its derivative needs;
//     counts() kPaired             whether rows i and i ± n/2 are each other's target: that score
//     is in no
//                         span, finish gets it, and Row::dtarget = ∂L/∂s_target
//     push(s, row, column, count) const → State       a span of a row, from candidate `column` on
//     push_columns(tile, stride, rows, cols, row, column, State*)   merges a tile of scores into
//                                                     its columns' states
//     finish(State, target_score) const → Row
//     dscores(s, row, column, count, Row, factor, out)              factor · ∂L_row/∂s
//     add_columns(s, row, column, count, fields, stride, factor, out)   adds factor[j] · ∂L_j/∂s;
//                                                     field f of Row j is fields[f · stride + j]
// A loss of pairs has `kOfPairs` = true: its derivatives need no Row, and what push makes of a row
// is complete without push_columns. One pass over the scores gives states and derivatives.
//
// The engine guarantees: every candidate reaches the state of its row exactly once a forward pass;
// a row's score with itself is −inf in its spans, and so is its target's; spans are at most
// kMaxColumns long; all reductions run in a fixed order.
#pragma once

#include <cstdint>

#include "engines/similarity.h"

namespace fastloss {

// S is the stored type, T the accumulation type.
template <class S, class T>
struct SelfInput {
  int64_t n, k, d;
  const S* rows;    // (n, d)
  const S* others;  // (k, d)
  bool itself;      // rows are candidates of each other
  Similarity similarity;
  T scale;            // > 0
  int64_t workspace;  // bytes
};

template <class Loss>
constexpr bool kIsOfPairs = requires { requires Loss::kOfPairs; };

// Gradients of overall · Σ_i row_grad_i · L_i; null = not wanted.
template <class T>
struct SelfGradients {
  T* rows = nullptr;        // (n, d)
  T* others = nullptr;      // (k, d)
  double* scale = nullptr;  // ∂/∂scale

  bool any() const { return rows || others || scale; }
};

}  // namespace fastloss
