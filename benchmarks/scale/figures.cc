#include "benchmarks/scale/figures.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace espalier::scale {

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void Durations::Add(double milliseconds) {
  MutexLock lock(&mutex_);
  milliseconds_.push_back(milliseconds);
}

std::vector<double> Durations::Take() {
  MutexLock lock(&mutex_);
  return std::exchange(milliseconds_, {});
}

std::string Percentiles(std::vector<double> milliseconds) {
  if (milliseconds.empty()) return "-";
  std::sort(milliseconds.begin(), milliseconds.end());
  const auto at = [&](size_t percent) {
    return milliseconds[std::min(milliseconds.size() - 1, milliseconds.size() * percent / 100)];
  };
  return absl::StrFormat("%.1f / %.1f", at(50), at(99));
}

}  // namespace espalier::scale
