#include "coordinator/jobs/task_shares.h"

#include <algorithm>
#include <optional>

namespace espalier {

double TaskShares::Share::Expected() const {
  const double mean = tasks == 0 ? 0 : worked / static_cast<double>(tasks);
  return seconds + static_cast<double>(open) * mean;
}

void TaskShares::Enter(JobId job, const std::vector<JobId>& peers) {
  std::optional<double> least;
  for (const JobId peer : peers) {
    const auto it = shares_.find(peer);
    if (peer == job || it == shares_.end() || it->second.resting) continue;
    least = std::min(least.value_or(it->second.seconds), it->second.seconds);
  }
  Share& share = shares_[job];
  share.seconds = std::max(share.seconds, least.value_or(0));
  share.resting = false;
}

void TaskShares::Rest(JobId job) { shares_[job].resting = true; }

void TaskShares::Given(JobId job) { ++shares_[job].open; }

void TaskShares::Ended(JobId job) {
  const auto it = shares_.find(job);
  if (it != shares_.end()) --it->second.open;
}

void TaskShares::Worked(JobId job, double seconds) {
  const auto it = shares_.find(job);
  if (it == shares_.end()) return;
  it->second.seconds += seconds;
  it->second.worked += seconds;
  ++it->second.tasks;
}

int64_t TaskShares::open(JobId job) const {
  const auto it = shares_.find(job);
  return it == shares_.end() ? 0 : it->second.open;
}

double TaskShares::Seconds(JobId job) const {
  const auto it = shares_.find(job);
  return it == shares_.end() ? 0 : it->second.Expected();
}

}  // namespace espalier
