#include "coordinator/jobs/work_queue.h"

#include <algorithm>
#include <utility>

namespace espalier {
namespace {

bool Suits(const WorkItem& item, const ReplicaFitness& replica) {
  if (item.failures > 0 && !replica.alone && item.last_failed_on == replica.key) return false;
  if (item.needs_reformed && replica.others_reformed && item.failures == 0) return false;
  if (!item.needs_calibration || replica.calibrated) return true;
  return !replica.calibrating && (item.failures > 0 || item.many || !replica.others_calibrated);
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

std::optional<WorkItem> WorkQueue::PopFor(const ReplicaFitness& replica) {
  for (auto it = items_.begin(); it != items_.end(); ++it) {
    if (!Suits(*it, replica)) continue;
    WorkItem item = std::move(*it);
    items_.erase(it);
    return item;
  }
  return std::nullopt;
}

}  // namespace espalier
