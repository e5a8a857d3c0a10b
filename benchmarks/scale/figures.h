// Durations and their percentiles.
#ifndef ESPALIER_BENCHMARKS_SCALE_FIGURES_H_
#define ESPALIER_BENCHMARKS_SCALE_FIGURES_H_

#include <chrono>
#include <string>
#include <vector>

#include "common/mutex.h"

namespace espalier::scale {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start);

// Thread-safe.
class Durations {
 public:
  void Add(double milliseconds);
  // All since the last call.
  std::vector<double> Take();

 private:
  Mutex mutex_;
  std::vector<double> milliseconds_ ABSL_GUARDED_BY(mutex_);
};

// "p50 / p99" in milliseconds; "-" of none.
std::string Percentiles(std::vector<double> milliseconds);

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_FIGURES_H_
