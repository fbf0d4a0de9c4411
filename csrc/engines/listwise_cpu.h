// The CPU loops of the listwise engine (contract: listwise.h).
//
// Lists of at most kOneTask items are tasks, several to one; longer lists follow one another, each
// using all threads. Either way a list is gathered into scratch (or read in place, where nothing is
// masked or converted), handed to the functor and its gradient scattered, with a factor that is
// known then. What a mean over pairs divides by is known only at the end and is one more pass over
// the gradient; a mean over lists knows it before.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/listwise.h"
#include "engines/pair_list.h"

namespace fastloss {

template <class Loss, class S>
class ListwiseCpu {
 public:
  using T = typename Loss::Value;

  ListwiseCpu(const ListwiseInput<S, T>& input, const Loss& loss, ListReduction reduction)
      : in_(input), loss_(loss), reduction_(reduction), totals_(input.lists, ListTotal{}) {}

  // The first item, in flat order, of which something is out of range; −1: none.
  struct Invalid {
    int64_t label = -1;
    int64_t weight = -1;
  };

  // Fills loss (one value, or `lists` of them) and, unless null, gradient (zero where masked). Both
  // are undefined if something is invalid.
  Invalid run(T* loss, T* gradient) {
    gradient_ = gradient;
    if (kOfLists && gradient != nullptr && averages()) {
      const double divisor = weight_of_lists();
      scale_ = divisor == 0 ? 0 : 1 / divisor;
    }
    Invalid invalid = short_lists();
    for (int64_t list = 0; list < in_.lists; ++list) {
      if (in_.end(list) - in_.begin(list) <= kOneTask) continue;
      Scratch scratch(in_.end(list) - in_.begin(list), in_.weight != nullptr);
      first(invalid, one_list(list, scratch));
    }
    if (invalid.label < 0 && invalid.weight < 0) reduce(loss);
    return invalid;
  }

 private:
  static constexpr bool kOfLists = requires { &Loss::list; };  // else of pairs
  using Gradient = std::conditional_t<kOfLists, T, double>;    // as the functor fills it

  bool averages() const {
    return reduction_ == ListReduction::kMean || reduction_ == ListReduction::kMeanList;
  }

  // What a mean over lists divides by.
  double weight_of_lists() const {
    double sum = 0;
    for (int64_t list = 0; list < in_.lists; ++list) {
      const int64_t begin = in_.begin(list), end = in_.end(list);
      const bool some = in_.where == nullptr ? end > begin
                                             : std::find(in_.where + begin, in_.where + end,
                                                         true) != in_.where + end;
      if (some) sum += list_weight(list);
    }
    return sum;
  }

  // Room for one list's kept items, densely, and where they came from.
  struct Scratch {
    explicit Scratch(int64_t length, bool weighted)
        : score(length),
          label(length),
          weight(weighted ? length : 0),
          place(length),
          gradient(length) {}
    host::Buffer<T> score, label, weight;
    host::Buffer<int64_t> place;
    host::Buffer<Gradient> gradient;
  };

  static void first(Invalid& a, const Invalid& b) {
    if (b.label >= 0 && (a.label < 0 || b.label < a.label)) a.label = b.label;
    if (b.weight >= 0 && (a.weight < 0 || b.weight < a.weight)) a.weight = b.weight;
  }

  Invalid short_lists() {
    // Runs of lists with about kOneTask items together.
    std::vector<int64_t> runs{0};
    int64_t items = 0, longest = 0;
    for (int64_t list = 0; list < in_.lists; ++list) {
      const int64_t length = in_.end(list) - in_.begin(list);
      if (length > kOneTask) continue;
      longest = std::max(longest, length);
      items += length + 1;
      if (items < kOneTask) continue;
      runs.push_back(list + 1);
      items = 0;
    }
    if (runs.back() < in_.lists) runs.push_back(in_.lists);
    const auto tasks = static_cast<int64_t>(runs.size()) - 1;
    std::vector<Invalid> invalid(tasks);
    std::vector<std::optional<Scratch>> slots(host::threads());
    host::for_each_task(tasks, [&](int64_t task, int64_t slot) {
      std::optional<Scratch>& scratch = slots[slot];
      if (!scratch) scratch.emplace(longest, in_.weight != nullptr);
      for (int64_t list = runs[task]; list < runs[task + 1]; ++list) {
        if (in_.end(list) - in_.begin(list) > kOneTask) continue;
        first(invalid[task], one_list(list, *scratch));
      }
    });
    Invalid all;
    for (const Invalid& one : invalid) first(all, one);
    return all;
  }

  double list_weight(int64_t list) const {
    return in_.list_weight != nullptr ? static_cast<double>(in_.list_weight[list]) : 1;
  }

  // What was found while a list was gathered.
  struct Gathered {
    ListItems<T> items{};
    const int64_t* place = nullptr;  // of the kept items; null: all of the list, in order
    bool nan = false;
    Invalid invalid{};
  };

  Invalid one_list(int64_t list, const Scratch& scratch) {
    const int64_t begin = in_.begin(list), end = in_.end(list);
    const Gathered got =
        in_.where == nullptr ? all_of(begin, end, scratch) : kept_of(begin, end, scratch);
    const bool wants = gradient_ != nullptr;
    const double factor = list_weight(list);
    if (factor == 0) {
      // No part of the sum, NaN or not.
      if (wants) std::fill(gradient_ + begin, gradient_ + end, T(0));
      return got.invalid;
    }
    ListTotal& total = totals_[list];
    if (got.nan) {
      constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
      total = {kNan, count_of_ordered(got.items, scratch)};
      std::fill_n(scratch.gradient.data(), got.items.count, kNan);
    } else if constexpr (kOfLists) {
      T* const to = !wants ? nullptr : got.place ? scratch.gradient.data() : gradient_ + begin;
      total = loss_.list(got.items, factor * scale_, to);
      if (!got.place) return got.invalid;
    } else {
      total = PairList<Loss>(loss_, got.items).total(wants ? scratch.gradient.data() : nullptr);
    }
    if (wants) scatter(total, factor, begin, got, scratch.gradient.data());
    return got.invalid;
  }

  // The largest, and whether something is NaN or negative.
  struct Found {
    T max_score, max_label;
    int odd;
  };

  Gathered all_of(int64_t begin, int64_t end, const Scratch& scratch) const {
    const int64_t count = end - begin;
    const S* const stored = in_.score + begin;
    const T* const label = in_.label + begin;
    const T* const weight = in_.weight != nullptr ? in_.weight + begin : nullptr;
    const T* score = scratch.score.data();
    if constexpr (std::is_same_v<S, T>) score = stored;
    T* const converted = scratch.score.data();
    Found found;
    Found* const to = &found;
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      T max_score = -math::kInfinity<T>, max_label = max_score;
      int odd = 0;
#pragma omp simd reduction(max : max_score, max_label) reduction(| : odd)
      for (int64_t k = 0; k < count; ++k) {
        T value;
        if constexpr (std::is_same_v<S, T>) {
          value = stored[k];
        } else {
          value = converted[k] = static_cast<T>(stored[k]);
        }
        max_score = value > max_score ? value : max_score;
        max_label = label[k] > max_label ? label[k] : max_label;
        odd |= (value != value) | !(label[k] >= T(0));
      }
      if (weight != nullptr) {
#pragma omp simd reduction(| : odd)
        for (int64_t k = 0; k < count; ++k) odd |= weight[k] < T(0);
      }
      *to = {max_score, max_label, odd};
    });
    Gathered got{{count, score, label, weight, found.max_score, found.max_label}};
    for (int64_t k = 0; found.odd && k < count; ++k) note(got, begin + k, score[k]);
    return got;
  }

  Gathered kept_of(int64_t begin, int64_t end, const Scratch& scratch) const {
    Gathered got;
    int64_t kept = 0;
    T max_score = -math::kInfinity<T>, max_label = max_score;
    for (int64_t i = begin; i < end; ++i) {
      const bool keep = in_.where[i];
      // Written whether kept or not, and then overwritten: no branch.
      const T score = scratch.score[kept] = static_cast<T>(in_.score[i]);
      const T label = scratch.label[kept] = in_.label[i];
      if (in_.weight != nullptr) scratch.weight[kept] = in_.weight[i];
      scratch.place[kept] = i;
      max_score = keep && score > max_score ? score : max_score;
      max_label = keep && label > max_label ? label : max_label;
      if (keep) note(got, i, score);
      kept += keep;
    }
    got.items = {kept,
                 scratch.score.data(),
                 scratch.label.data(),
                 in_.weight != nullptr ? scratch.weight.data() : nullptr,
                 max_score,
                 max_label};
    got.place = scratch.place.data();
    return got;
  }

  void note(Gathered& got, int64_t i, T score) const {
    const T label = in_.label[i];
    got.nan |= score != score || label != label;
    if (label < T(0) && got.invalid.label < 0) got.invalid.label = i;
    if (in_.weight != nullptr && in_.weight[i] < T(0) && got.invalid.weight < 0) {
      got.invalid.weight = i;
    }
  }

  // How a list that holds NaN counts: by the labels that are numbers.
  double count_of_ordered(ListItems<T> items, const Scratch& scratch) const {
    int64_t kept = 0;
    for (int64_t k = 0; k < items.count; ++k) {
      const T label = items.label[k];
      scratch.label[kept] = label;
      if (items.weight != nullptr) scratch.weight[kept] = items.weight[k];
      kept += label == label;
    }
    if constexpr (kOfLists) {
      return loss_.count(items);
    } else {
      items.count = kept;
      items.label = scratch.label.data();
      if (items.weight != nullptr) items.weight = scratch.weight.data();
      return PairList<Loss>(loss_, items).count();
    }
  }

  void scatter(const ListTotal& total, double weight, int64_t begin, const Gathered& got,
               const Gradient* from) const {
    double factor = kOfLists ? 1 : weight * scale_;
    if (!kOfLists && reduction_ == ListReduction::kMeanList && total.count > 0) {
      factor /= total.count;
    }
    const int64_t count = got.items.count;
    T* const to = gradient_;
    if (got.place != nullptr) {
      for (int64_t k = 0; k < count; ++k) to[got.place[k]] = static_cast<T>(factor * from[k]);
      return;
    }
    simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
      T* __restrict const out = to + begin;
#pragma omp simd
      for (int64_t k = 0; k < count; ++k) out[k] = static_cast<T>(factor * from[k]);
    });
  }

  void reduce(T* loss) const {
    if (reduction_ == ListReduction::kNone) {
      for (int64_t list = 0; list < in_.lists; ++list) {
        loss[list] = static_cast<T>(list_weight(list) * totals_[list].value);
      }
      return;
    }
    double sum = 0, divisor = 0;
    for (int64_t list = 0; list < in_.lists; ++list) {
      const ListTotal& total = totals_[list];
      const double weight = list_weight(list);
      if (reduction_ == ListReduction::kMeanList) {
        // A NaN counts even where there is no pair.
        if (total.count > 0 || total.value != total.value) {
          sum += weight * (total.value / (total.count > 0 ? total.count : 1));
        }
        if (total.count > 0) divisor += weight;
      } else {
        sum += weight * total.value;
        divisor += weight * total.count;
      }
    }
    if (reduction_ == ListReduction::kSum) divisor = 1;
    *loss = static_cast<T>(sum != sum ? sum : divisor == 0 ? 0 : sum / divisor);
    if (!kOfLists && gradient_ != nullptr && averages()) divide_gradient(divisor);
  }

  void divide_gradient(double divisor) const {
    // A divisor of 0: there is no pair with weight, the gradient is 0 but for NaN.
    const double factor = divisor == 0 ? 0 : 1 / divisor;
    constexpr int64_t kBlock = 1 << 15;
    const int64_t count = in_.lists > 0 ? in_.end(in_.lists - 1) : 0;
    T* const gradient = gradient_;
    host::for_each_task((count + kBlock - 1) / kBlock, [=](int64_t task, int64_t) {
      simd::dispatch([=]() FASTLOSS_SIMD_LOOP {
#pragma omp simd
        for (int64_t i = task * kBlock; i < std::min(count, (task + 1) * kBlock); ++i) {
          gradient[i] = static_cast<T>(factor * static_cast<double>(gradient[i]));
        }
      });
    });
  }

  ListwiseInput<S, T> in_;
  Loss loss_;
  ListReduction reduction_;
  host::Buffer<ListTotal> totals_;
  T* gradient_ = nullptr;
  double scale_ = 1;  // of all gradients
};

}  // namespace fastloss
