// The course of a job's search, in few points.
#ifndef ESPALIER_COORDINATOR_STATUS_HISTORY_H_
#define ESPALIER_COORDINATOR_STATUS_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coordinator/status/source.h"

namespace espalier {

struct HistoryPoint {
  int64_t unix_ms = 0;
  int64_t generation = 0;
  int64_t candidates = 0;  // scored so far
  double best_perplexity = 0;
  double ratio = 0;

  friend bool operator==(const HistoryPoint&, const HistoryPoint&) = default;
};

// One point for each generation and each improvement of the search, and one for where it stands
// now. When these are more than `most` (at least 2), an evenly spread selection of them with the
// first and the last.
std::vector<HistoryPoint> SearchHistory(const std::vector<JobEventView>& events, size_t most);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_HISTORY_H_
