#include "coordinator/jobs/work_queue.h"

#include <utility>

namespace espalier {
namespace {

bool Suits(const WorkItem& item, const WorkerFitness& worker) {
  if (item.failures > 0) return worker.alone || item.last_failed_on != worker.key;
  return !item.needs_calibration || worker.calibrated || !worker.others_calibrated;
}

}  // namespace

std::optional<WorkItem> WorkQueue::PopFor(const WorkerFitness& worker) {
  for (auto it = items_.begin(); it != items_.end(); ++it) {
    if (!Suits(*it, worker)) continue;
    WorkItem item = std::move(*it);
    items_.erase(it);
    return item;
  }
  return std::nullopt;
}

}  // namespace espalier
