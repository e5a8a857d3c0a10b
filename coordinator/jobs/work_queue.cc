#include "coordinator/jobs/work_queue.h"

#include <algorithm>
#include <utility>

namespace espalier {
namespace {

bool Suits(const WorkItem& item, const WorkerFitness& worker) {
  if (item.failures > 0) return worker.alone || item.last_failed_on != worker.key;
  return !item.needs_calibration || worker.calibrated || !worker.others_calibrated;
}

}  // namespace

WorkKey KeyOf(const WorkItem& item) {
  const auto* evaluate = std::get_if<EvaluateWork>(&item.work);
  return {.kind = item.work.index(),
          .index = item.index,
          .first = evaluate == nullptr ? 0 : evaluate->first};
}

std::optional<WorkItem> WorkQueue::Pop(const WorkKey& key) {
  const auto it = std::find_if(items_.begin(), items_.end(),
                               [&key](const WorkItem& item) { return KeyOf(item) == key; });
  if (it == items_.end()) return std::nullopt;
  WorkItem item = std::move(*it);
  items_.erase(it);
  return item;
}

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
