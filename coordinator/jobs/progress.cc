#include "coordinator/jobs/progress.h"

#include <algorithm>

namespace espalier {
namespace {

constexpr size_t kPoints = 33;
constexpr TimeMs kSampleDistance = 250;
constexpr TimeMs kEventDistance = 100;
constexpr TimeMs kEventShare = 500;

}  // namespace

void RateMeter::Start(TimeMs now, double done) { points_.assign(1, {.time = now, .done = done}); }

void RateMeter::Sample(TimeMs now, double done) {
  if (points_.empty()) return Start(now);
  if (points_.back().done == done) return;
  // The newest point follows the present until it is far enough from the one before it.
  const bool close = points_.size() > 1 && now - points_[points_.size() - 2].time < kSampleDistance;
  if (close) {
    points_.back() = {.time = now, .done = done};
  } else {
    points_.push_back({.time = now, .done = done});
  }
  if (points_.size() > kPoints) points_.pop_front();
}

double RateMeter::UnitsPerSecond() const {
  if (points_.size() < 2) return 0;
  const double units = points_.back().done - points_.front().done;
  const double ms = static_cast<double>(points_.back().time - points_.front().time);
  // `units` can shrink when a lost worker's part is done again.
  return ms > 0 && units > 0 ? units / ms * 1e3 : 0;
}

double RateMeter::EtaSeconds(double done, double total) const {
  const double rate = UnitsPerSecond();
  return rate > 0 ? std::max(0.0, total - done) / rate : 0;
}

void EventThrottle::Start(TimeMs now) {
  start_ = now;
  last_ = now;
}

bool EventThrottle::Ready(TimeMs now) const {
  return now - last_ >= std::max(kEventDistance, (now - start_) / kEventShare);
}

}  // namespace espalier
