// A job whose events are followed while it runs, as `espalier watch` does.
#ifndef ESPALIER_TESTS_FAULTS_FOLLOWED_JOB_H_
#define ESPALIER_TESTS_FAULTS_FOLLOWED_JOB_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "client/job_client.h"
#include "common/mutex.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

// Thread-safe. Every wait ends after two minutes, as a failure of the test.
class FollowedJob {
 public:
  FollowedJob(std::unique_ptr<JobClient> client, std::string id);
  ~FollowedJob();  // ends the following, not the job
  FollowedJob(const FollowedJob&) = delete;
  FollowedJob& operator=(const FollowedJob&) = delete;

  const std::string& id() const { return id_; }
  // Nothing more will come.
  bool ended() const;
  // Until there is such an event; false when the job ended without.
  bool WaitFor(const std::function<bool(const v1::JobEvent&)>& condition);
  bool WaitForPhase(v1::JobPhase phase);  // or a later one
  // Until every piece of work that is open now was done: until the next generation or phase. False
  // when the job ended before.
  bool WaitForWhatIsOpen();

  // Waits for the end and checks the events: numbered from 1 without gap or repetition, states and
  // phases only go on, the best perplexity never gets worse, the last event is the job's end.
  v1::Job Wait();

 private:
  void Follow(const std::stop_token& stop);
  void CheckEvents() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string id_;
  const std::unique_ptr<JobClient> client_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<v1::JobEvent> events_ ABSL_GUARDED_BY(mutex_);
  absl::StatusOr<v1::Job> job_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // uses everything above
};

}  // namespace espalier

#endif  // ESPALIER_TESTS_FAULTS_FOLLOWED_JOB_H_
