// The events of every job, and who follows them.
#ifndef ESPALIER_COORDINATOR_SERVICE_EVENT_LOGS_H_
#define ESPALIER_COORDINATOR_SERVICE_EVENT_LOGS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/jobs/types.h"
#include "coordinator/status/history.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

// One that follows a job. Must not block, nor call back.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Offer(std::shared_ptr<const v1::JobEvent> event) = 0;
  virtual void End(const absl::Status& status) = 0;  // after what was offered
};

// Not thread-safe.
class EventLogs {
 public:
  // Events come in the order of their numbers, from 1; after a final one the job's sinks end.
  void Append(JobId job, const std::shared_ptr<const v1::JobEvent>& event, bool final);
  // The events of a job of an earlier life, as bytes, before anything else about it. DATA_LOSS for
  // bytes that are no event.
  absl::Status Restore(JobId job, const std::vector<std::string>& events, bool final);
  // Offers the events with numbers above `after`, and those to come. Requires a known job.
  void Follow(JobId job, uint64_t after, std::shared_ptr<EventSink> sink);
  void Forget(const EventSink* sink);
  // A job that has ended.
  void Remove(JobId job);
  void EndAll(const absl::Status& status);
  // What they tell of a job so far; nothing of an unknown one.
  std::vector<HistoryPoint> History(JobId job) const;
  std::vector<JobLine> Messages(JobId job) const;

 private:
  struct Log {
    std::vector<std::shared_ptr<const v1::JobEvent>> events;
    JobCourse course;
    bool final = false;
    std::vector<std::shared_ptr<EventSink>> sinks;
  };
  std::map<JobId, Log> logs_;
  std::map<const EventSink*, JobId> following_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_EVENT_LOGS_H_
