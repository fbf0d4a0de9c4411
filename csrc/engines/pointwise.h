// The pointwise engine: losses of single scores, and of rows of logits against a target.
//
// A loss of single scores is a functor (losses/binary_cross_entropy.h is a model) that gives
//     at(score, target, positive_weight) → Element   value and derivative of one score, branch-free
//     takes_input(x), takes_target(y)                whether a value is in the loss's domain; NaN
//     is
// A loss of rows is a functor (losses/cross_entropy.h) that gives
//     State                                     monoid over the logits of a row; State{} is empty
//     Row                                       the row's value and what dscores needs, kFields
//                                               numbers: load and store, `value` first; Row{} is a
//                                               row with nothing; counts()
//     push(z, target, column, count) → State    a span of a row, from `column` on
//     finish(State) → Row                       the target is a distribution, a row as long as z
//     finish(State, z_t, weight_of(t)) → Row    the target is the class t, which was not pushed;
//                                               fills Row::dtarget = ∂L/∂z_t
//     dscores(z, target, column, count, Row, factor, out)   factor · ∂L/∂z of a span
//     Lanes                                     the states of rows side by side (core/lanes.h): [r]
//                                               and set(r, State)
//     push_lanes(z, target, column, count, lanes, Lanes&)
//     dscores_lanes(z, target, column, count, lanes, rows, factor, out)
//                                               push (to an empty state) and dscores of a tile of
//                                               rows; a class not to be pushed is a logit of −inf
//     takes_target(t)                           of a distribution, as above
// The engine guarantees: every kept element or class reaches exactly one `at` or `push` a forward
// pass and exactly one `at` or `dscores` a gradient pass; elements of weight 0 and rows that are
// ignored do not enter any sum, nor their lane what is returned; sums run in a fixed order.
//
// Nothing of the size of the input is stored. The backward pass reads the input again and writes
// the gradient where it is returned: saving it in the forward pass would write it, read it and
// write it once more, which takes as long and doubles the memory.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "engines/values.h"

namespace fastloss {

// Elements that all loops run over while they are in cache.
constexpr int64_t kElementSpan = 1024;

// A factor of every element: values[i % period]. It is repeated so often that a span can be read
// from any place of the period on.
template <class T>
struct Pattern {
  const T* values = nullptr;  // null: all 1
  int64_t period = 1;

  const T* from(int64_t i) const { return values != nullptr ? values + i % period : nullptr; }
};

template <class T>
struct ElementsInput {
  int64_t count;
  Source<T> input;
  Source<T> target;
  Pattern<T> weight;
  Pattern<T> positive_weight;
};

// Logit c of row r = o · inner + k lies at (o · classes + c) · inner + k.
template <class T>
struct RowsInput {
  int64_t outer, classes, inner;
  Source<T> input;
  Source<T> target;             // laid out like input; or
  const int64_t* target_class;  // (outer · inner), in [0, classes) where not ignored
  int64_t ignored;              // rows of this class do not exist
  bool ignores;

  int64_t rows() const { return outer * inner; }
};

// What the rows' (or elements') derivatives are multiplied by: their upstream gradients, or one.
template <class T>
struct Upstream {
  const T* each = nullptr;
  T all = 1;

  FASTLOSS_HOST_DEVICE T operator[](int64_t i) const { return each != nullptr ? each[i] : all; }
};

}  // namespace fastloss
