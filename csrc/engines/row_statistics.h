// What a similarity needs to know of every row before the products: O(n · d) time, O(n) memory.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/simd.h"
#include "engines/host.h"
#include "engines/operand.h"
#include "engines/similarity.h"

namespace fastloss {

// 1/‖x‖ of one row within the range of double; 0 for a zero row.
template <class T>
FASTLOSS_HOST_DEVICE T inverse_norm(const T* __restrict row, int64_t d) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < d; ++k) sum += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  return sum == 0 ? T(0) : static_cast<T>(1 / std::sqrt(sum));
}

// Both sides of a pairwise product as multiplied, with one statistic a row: inverse norm (cosine,
// of the row as multiplied, 0 for a zero row), squared norm (distances), 1 (dot).
template <class S, class T>
class Operands {
 public:
  Operands(Similarity similarity, const S* query, int64_t n, const S* key, int64_t m, int64_t d)
      : query{query, n, d},
        key{key, m, d},
        query_statistic(n, T(1)),
        key_statistic(m, T(1)),
        centre_(is_distance(similarity) ? d : 0),
        query_magnitude_(similarity == Similarity::kCosine ? n : 0),
        key_magnitude_(similarity == Similarity::kCosine ? m : 0) {
    if (similarity == Similarity::kCosine) {
      if (inverse_norms(this->query, query_statistic, query_magnitude_)) {
        this->query.magnitude = query_magnitude_.data();
      }
      if (inverse_norms(this->key, key_statistic, key_magnitude_)) {
        this->key.magnitude = key_magnitude_.data();
      }
    } else if (is_distance(similarity)) {
      // Distances do not change when all rows are moved; ‖q‖² + ‖k‖² − 2⟨q, k⟩ does lose less when
      // the rows lie around the origin.
      mean_of_rows(this->key);
      this->query.centre = this->key.centre = centre_.data();
      squared_norms(this->query, query_statistic);
      squared_norms(this->key, key_statistic);
    }
  }

  Operand<S, T> query;
  Operand<S, T> key;
  host::Buffer<T> query_statistic;
  host::Buffer<T> key_statistic;

 private:
  static constexpr int64_t kRowsATask = 1024;

  template <class Body>
  static void for_row_blocks(int64_t count, const Body& body) {
    host::for_each_task((count + kRowsATask - 1) / kRowsATask, [&](int64_t task, int64_t) {
      const int64_t first = task * kRowsATask;
      body(first, std::min(count, first + kRowsATask));
    });
  }

  FASTLOSS_HOST_DEVICE static double sum_of_squares(const S* __restrict row, int64_t d,
                                                    double scale) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < d; ++k) {
      const double value = static_cast<double>(row[k]) * scale;
      sum += value * value;
    }
    return sum;
  }

  // Fills 1/‖x‖ of the rows as multiplied; returns whether some row must be multiplied by a power
  // of two (in `magnitude`) because products of rows as long or short as it would leave T's range.
  static bool inverse_norms(const Operand<S, T>& rows, const host::Buffer<T>& inverse,
                            const host::Buffer<T>& magnitude) {
    constexpr int kSafe = std::is_same_v<T, double> ? 400 : 50;  // norms within 2^±kSafe
    const double low = std::ldexp(1.0, -2 * kSafe), high = std::ldexp(1.0, 2 * kSafe);
    std::atomic<bool> scaled{false};
    for_row_blocks(rows.count, [&](int64_t first, int64_t last) {
      T* const out = inverse.data();
      T* const power = magnitude.data();
      simd::dispatch([=, &rows, &scaled]() FASTLOSS_SIMD_LOOP {
        for (int64_t i = first; i < last; ++i) {
          const S* row = rows.data + i * rows.d;
          double sum = sum_of_squares(row, rows.d, 1.0);
          double multiplier = 1;
          if (!(sum >= low && sum <= high)) {
            double largest = 0;
            for (int64_t k = 0; k < rows.d; ++k) {
              largest = std::max(largest, std::abs(static_cast<double>(row[k])));
            }
            if (largest > 0 && largest <= std::numeric_limits<double>::max()) {
              multiplier = std::ldexp(1.0, -std::ilogb(largest));
              sum = sum_of_squares(row, rows.d, multiplier);
              scaled = true;
            }
          }
          power[i] = static_cast<T>(multiplier);
          out[i] = sum == 0 ? T(0) : static_cast<T>(1 / std::sqrt(sum));
        }
      });
    });
    return scaled;
  }

  static void squared_norms(const Operand<S, T>& rows, const host::Buffer<T>& out) {
    for_row_blocks(rows.count, [&](int64_t first, int64_t last) {
      const host::Buffer<T> scratch(rows.d);
      T* const row = scratch.data();
      T* const norms = out.data();
      simd::dispatch([=, &rows]() FASTLOSS_SIMD_LOOP {
        for (int64_t i = first; i < last; ++i) {
          rows.load(i, row);
          norms[i] = detail::dot(row, row, rows.d);
        }
      });
    });
  }

  void mean_of_rows(const Operand<S, T>& rows) {
    const host::Buffer<double> sum(rows.d, 0.0);
    for (int64_t i = 0; i < rows.count; ++i) {
      for (int64_t k = 0; k < rows.d; ++k) sum[k] += static_cast<double>(rows.data[i * rows.d + k]);
    }
    // Any centre is right: one that a single row can spoil would make all distances NaN.
    for (int64_t k = 0; k < rows.d; ++k) {
      const T mean = static_cast<T>(sum[k] / static_cast<double>(rows.count));
      centre_[k] = std::isfinite(mean) ? mean : T(0);
    }
  }

  host::Buffer<T> centre_;
  host::Buffer<T> query_magnitude_;
  host::Buffer<T> key_magnitude_;
};

}  // namespace fastloss
