// How much of the workers' time each job has had: of jobs that one replica can serve, the one that
// has had least comes next.
#ifndef ESPALIER_COORDINATOR_JOBS_TASK_SHARES_H_
#define ESPALIER_COORDINATOR_JOBS_TASK_SHARES_H_

#include <cstdint>
#include <map>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

class TaskShares {
 public:
  // From now on the job takes part. What it did not use before is not made up for: it begins where
  // that of its `peers`, the jobs that it competes with, is that has had least.
  void Enter(JobId job, const std::vector<JobId>& peers);
  void Rest(JobId job);  // takes no part for now
  void Leave(JobId job) { shares_.erase(job); }

  void Given(JobId job);                   // a task was assigned
  void Ended(JobId job);                   // it was answered, or came back
  void Worked(JobId job, double seconds);  // a replica was busy with a task for so long
  int64_t open(JobId job) const;           // tasks assigned
  // Replica-seconds that the job has had, and will have had when its open tasks take as long as the
  // others did.
  double Seconds(JobId job) const;

 private:
  struct Share {
    double seconds = 0;  // with those that it did not use
    double worked = 0;
    int64_t tasks = 0;  // that took this time
    int64_t open = 0;
    bool resting = true;

    double Expected() const;
  };
  std::map<JobId, Share> shares_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_TASK_SHARES_H_
