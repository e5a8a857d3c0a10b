// What the status endpoint shows, as plain data, and the one interface that it comes through.
#ifndef ESPALIER_COORDINATOR_STATUS_SOURCE_H_
#define ESPALIER_COORDINATOR_STATUS_SOURCE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/jobs/types.h"
#include "coordinator/status/activity.h"

namespace espalier {

// However many jobs there were, so many rows are shown (or more, when more are unfinished).
inline constexpr size_t kMostJobRows = 200;

// Everything at one moment.
struct StatusSnapshot {
  uint64_t change = 0;        // number of the newest change (ActivityCounters)
  bool ready = false;         // takes jobs and workers
  std::string trouble;        // why not, unless it is shutting down
  int64_t start_unix_ms = 0;  // wall-clock time of the brain's time 0, the process's start
  TimeMs now = 0;
  // In the order of submission: the unfinished and the newest ones, up to kMostJobRows.
  std::vector<JobView> jobs;
  JobCounts job_counts;  // of all jobs
  std::vector<WorkerView> workers;
  ActivityTotals totals;
};

// One event of a job, as far as a picture or a log of it needs it.
struct JobEventView {
  int64_t unix_ms = 0;
  JobPhase phase = JobPhase::kLoad;
  int64_t done = 0;
  int64_t generation = 0;
  double best_perplexity = 0;  // 0: none yet
  double ratio = 0;
  std::string message = {};  // a line for people, possibly empty
  int64_t size = 1;          // which of the job's sizes
};

struct HistoryPoint {
  int64_t unix_ms = 0;
  int64_t generation = 0;
  int64_t candidates = 0;  // scored so far
  double best_perplexity = 0;
  double ratio = 0;

  friend bool operator==(const HistoryPoint&, const HistoryPoint&) = default;
};

// For people.
struct JobLine {
  int64_t unix_ms = 0;
  std::string text;
};

// However long a job runs, what is shown of it stays within these.
inline constexpr size_t kMostHistoryPoints = 512;
inline constexpr size_t kMostMessages = 100;

// All of one job.
struct JobDetail {
  int64_t start_unix_ms = 0;  // as in StatusSnapshot
  JobView job;
  std::vector<HistoryPoint> history;  // JobCourse
  std::vector<JobLine> messages;
};

// Thread-safe. Answers are copies, so nothing is locked while they are written to a network.
class StatusSource {
 public:
  virtual ~StatusSource() = default;

  virtual StatusSnapshot Look() const = 0;
  // NOT_FOUND says which jobs there are.
  virtual absl::StatusOr<JobDetail> LookAt(JobId job) const = 0;
  // Waits for a change after number `seen`; returns the newest number, at the deadline anyway.
  virtual uint64_t WaitForChange(uint64_t seen,
                                 std::chrono::steady_clock::time_point deadline) const = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_SOURCE_H_
