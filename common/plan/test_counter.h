// Counts the multiply-adds of loops that are written out, for tests of the formulas.
#ifndef ESPALIER_COMMON_PLAN_TEST_COUNTER_H_
#define ESPALIER_COMMON_PLAN_TEST_COUNTER_H_

#include <cstdint>

namespace espalier {

struct MultiplyAdds {
  double count = 0;

  // [n, k] · [k, m].
  void Product(int64_t n, int64_t k, int64_t m) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < m; ++j) {
        for (int64_t l = 0; l < k; ++l) ++count;
      }
    }
  }
  // The part on and above the diagonal of [n, k] · [k, n], without half of the diagonal.
  void Triangle(int64_t n, int64_t k) { count += 0.5 * static_cast<double>(n * n * k); }
  // Both triangular solves of an [n, n] system with m right sides.
  void Substitute(int64_t n, int64_t m) {
    for (int64_t column = 0; column < m; ++column) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) ++count;  // below i, then above it and the pivot
      }
    }
  }
  // To leading order.
  void Factorise(int64_t n) { count += static_cast<double>(n * n * n) / 3; }
  void FactoriseSymmetric(int64_t n) { count += static_cast<double>(n * n * n) / 6; }

  double flops() const { return 2 * count; }
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_TEST_COUNTER_H_
