#include "coordinator/status/history.h"

#include <utility>

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

std::vector<HistoryPoint> SearchHistory(const std::vector<JobEventView>& events, size_t most) {
  std::vector<HistoryPoint> points;
  bool last_is_present = false;  // the last point only says where the search stands
  for (const JobEventView& event : events) {
    if (event.phase != JobPhase::kSearch || event.best_perplexity <= 0) continue;
    const HistoryPoint point = PointOf(event);
    if (last_is_present) points.pop_back();
    last_is_present = !points.empty() && SameSection(points.back(), point);
    points.push_back(point);
  }
  return points.size() > most ? Thinned(points, most) : points;
}

}  // namespace espalier
