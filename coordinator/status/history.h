// The course of a job, gathered event by event, so that nobody goes through all of them to show it.
#ifndef ESPALIER_COORDINATOR_STATUS_HISTORY_H_
#define ESPALIER_COORDINATOR_STATUS_HISTORY_H_

#include <cstddef>
#include <deque>
#include <vector>

#include "coordinator/status/source.h"

namespace espalier {

class JobCourse {
 public:
  // From the first event on, in order.
  void Add(const JobEventView& event);

  // One point for each generation and each improvement of the search, and one for where it stands
  // now. When these are more than `most` (at least 2), an evenly spread selection of them with the
  // first and the last.
  std::vector<HistoryPoint> History(size_t most = kMostHistoryPoints) const;
  // The newest kMostMessages.
  std::vector<JobLine> Messages() const { return {messages_.begin(), messages_.end()}; }

 private:
  std::vector<HistoryPoint> points_;
  int64_t size_ = 1;              // whose points these are
  bool last_is_present_ = false;  // the last point only says where the search stands
  std::deque<JobLine> messages_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_HISTORY_H_
