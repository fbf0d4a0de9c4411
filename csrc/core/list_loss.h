// What a loss of lists and the engine that runs it (engines/listwise.h) say to each other.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace fastloss {

// The kept items of one list, densely stored.
template <class T>
struct ListItems {
  int64_t count;
  const T* score;
  const T* label;
  const T* weight;  // null: all 1
  T max_score;      // −∞ of nothing, as the next
  T max_label;
};

// The loss of a list, and with how much it counts in a mean: the weight of its pairs, or 1.
struct ListTotal {
  double value = 0;
  double count = 0;
};

// A term of the loss and its derivative.
template <class T>
struct PairTerm {
  T value;
  T derivative;
};

enum class PairMethod : int { kAuto, kPairs, kSorted };

// Which pairs of a list enter, and how they are weighed.
struct PairRules {
  bool ties_half = false;   // equal labels too, each pair once
  bool label_diff = false;  // times |label_i − label_j|, which the count does not know of
  PairMethod method = PairMethod::kAuto;
};

// A pair's term as the sorted sweeps sum it, t = score_i − score_j with label_i > label_j:
//     factor · [(margin − slope · t)₊^power + log(1 + e^{−slope |t|}) (logistic losses only)].
struct SweepForm {
  double slope = 1;
  double margin = 0;
  double factor = 1;
  int power = 1;
};

}  // namespace fastloss
