#include "coordinator/status/history.h"

namespace espalier {
namespace {

HistoryPoint PointOf(const JobEventView& event) {
  return {.unix_ms = event.unix_ms,
          .generation = event.generation,
          .candidates = event.done,
          .best_perplexity = event.best_perplexity,
          .ratio = event.ratio};
}

bool SameSection(const HistoryPoint& a, const HistoryPoint& b) {
  return a.generation == b.generation && a.best_perplexity == b.best_perplexity;
}

std::vector<HistoryPoint> Thinned(const std::vector<HistoryPoint>& points, size_t most) {
  std::vector<HistoryPoint> kept;
  kept.reserve(most);
  for (size_t i = 0; i < most; ++i) {
    kept.push_back(points[i * (points.size() - 1) / (most - 1)]);
  }
  return kept;
}

}  // namespace

void JobCourse::Add(const JobEventView& event) {
  if (!event.message.empty()) {
    messages_.push_back({.unix_ms = event.unix_ms, .text = event.message});
    if (messages_.size() > kMostMessages) messages_.pop_front();
  }
  if (event.phase != JobPhase::kSearch || event.best_perplexity <= 0) return;
  if (event.size != size_) {
    size_ = event.size;
    points_.clear();
    last_is_present_ = false;
  }
  const HistoryPoint point = PointOf(event);
  if (last_is_present_) points_.pop_back();
  last_is_present_ = !points_.empty() && SameSection(points_.back(), point);
  points_.push_back(point);
}

std::vector<HistoryPoint> JobCourse::History(size_t most) const {
  return points_.size() > most ? Thinned(points_, most) : points_;
}

}  // namespace espalier
