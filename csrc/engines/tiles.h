// Tiles of a product of rows: the threads' scratch, a panel packed once, and its products with
// blocks of rows.
#pragma once

#include <cstdint>
#include <type_traits>

#include "engines/host.h"
#include "engines/operand.h"

namespace fastloss {

template <class S, class T>
class Tiles {
 public:
  // Blocks of up to `block` rows of `left` and `right`, against panels of `cols` rows of `right`.
  Tiles(const Operand<S, T>& left, const Operand<S, T>& right, int64_t block, int64_t cols)
      : d_(left.d),
        cols_(cols),
        row_copies_(left.in_place() ? 1 : block),
        panel_copies_(left.in_place() && right.in_place() ? 1 : cols),
        size_(size(left.d, block, cols, row_copies_, panel_copies_)),
        pairs_(std::is_same_v<S, BFloat16> && host::multiplies_bfloat16() && left.has_pairs() &&
               right.has_pairs()),
        scratch_(host::threads() * size_) {}

  // Values a thread needs.
  static int64_t size(int64_t d, int64_t block, int64_t cols, int64_t row_copies,
                      int64_t panel_copies) {
    return (cols + 8 + row_copies + panel_copies) * d + block * cols;
  }
  int64_t bytes() const { return scratch_.size() * int64_t{sizeof(T)}; }

  T* packed(int64_t slot) const { return scratch_.data() + slot * size_; }
  T* strip(int64_t slot) const { return packed(slot) + cols_ * d_; }
  T* row_copy(int64_t slot) const { return strip(slot) + 8 * d_; }
  T* panel_copy(int64_t slot) const { return row_copy(slot) + row_copies_ * d_; }
  T* tile(int64_t slot) const { return panel_copy(slot) + panel_copies_ * d_; }

  // The slot's panel: rows [first, first + width), one a column.
  void pack(const Operand<S, T>& rows, int64_t first, int64_t width, int64_t slot) const {
    if constexpr (std::is_same_v<S, BFloat16>) {
      if (pairs_) {
        return rows.pairs_transposed(first, width, reinterpret_cast<S*>(packed(slot)), cols_);
      }
    }
    rows.transposed(first, width, nullptr, strip(slot), packed(slot), cols_);
  }

  // Columns [from, width) of out(count × cols) = rows [row, row + count) times the packed panel.
  void multiply(const Operand<S, T>& rows, int64_t row, int64_t count, int64_t from, int64_t width,
                int64_t slot, T* out) const {
    if constexpr (std::is_same_v<S, BFloat16>) {
      if (pairs_) {
        return host::multiply(count, width - from, d_, rows.data + row * d_, d_,
                              reinterpret_cast<const S*>(packed(slot)) + 2 * from, cols_,
                              out + from, cols_, false);
      }
    }
    host::multiply(count, width - from, d_, rows.block(row, count, row_copy(slot)), d_,
                   packed(slot) + from, cols_, out + from, cols_, false);
  }

 private:
  int64_t d_, cols_, row_copies_, panel_copies_, size_;
  bool pairs_;  // bfloat16 rows are multiplied as they are stored
  host::Buffer<T> scratch_;
};

}  // namespace fastloss
