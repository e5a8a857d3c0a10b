// A coordinator, workers behind proxies of their own, and jobs that are disturbed and compared with
// the run that nobody disturbed. All programs are real processes.
#ifndef ESPALIER_TESTS_FAULTS_FAULT_FIXTURE_H_
#define ESPALIER_TESTS_FAULTS_FAULT_FIXTURE_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "client/job_client.h"
#include "client/testing/service_fixture.h"
#include "common/grpc_keepalive.h"
#include "common/job_spec.h"
#include "tests/faults/fault_proxy.h"
#include "tests/faults/followed_job.h"

namespace espalier {

// How often a test injects its fault.
inline constexpr int kFaults = 20;

// A worker, its way to the coordinator, and that of other stages to it.
struct Member {
  std::string name;
  std::unique_ptr<FaultProxy> proxy;
  std::string stage_listen;
  std::unique_ptr<FaultProxy> inbound;  // null unless `links_between_stages_`
  std::unique_ptr<Process> process;
  size_t log_read = 0;  // up to where it last attached
};

class FaultTest : public ServiceTest {
 protected:
  // Draws instants from the seed in ESPALIER_FAULT_SEED, or from a new one; prints it.
  FaultTest();
  // Every program ends well when it is asked to, and nothing of this test is left.
  void TearDown() override;

  uint64_t Random(uint64_t bound) { return random_() % bound; }  // in [0, bound)
  static FaultProxy::Deadline Soon();

  // Leases and heartbeats as `coordinator_flags_` says.
  void StartCluster(int workers);
  std::string coordinator_address() { return environment_["ESPALIER_COORDINATOR"]; }
  void StartProcess(Member& member);  // returns when it is attached
  // Until it attached once more than when this was last asked.
  void AwaitAttached(Member& member);
  // Until the coordinator gave up a worker, `log_read` bytes into its log.
  void AwaitLeaseOver(size_t log_read);
  Member& RandomMember() { return members_[Random(members_.size())]; }

  std::unique_ptr<JobClient> Client(const std::string& address) const;
  // Some hundred candidates of a millisecond or two; the result lies in results()/`name`.
  JobSpec Spec(const std::string& name) const;
  std::unique_ptr<FollowedJob> Submit(const JobSpec& spec);
  // The files of that job, run by `espalier run` with one worker.
  std::map<std::string, std::string> Undisturbed(JobSpec spec);
  // The job ended well, with these files.
  void ExpectResult(FollowedJob& job, const std::map<std::string, std::string>& expected,
                    const std::string& name);

  // Runs jobs, one after the other and each with a seed of its own, until `disturb` has injected
  // `kFaults` faults; each job must end with the result of an undisturbed run. `disturb` injects
  // one into a running job, or returns false when the job ended before.
  void DisturbJobs(const std::function<bool(FollowedJob& job)>& disturb);
  // The same, with `inject` called each time at a random instant of a running job and for a random
  // worker, which is attached again when it returns. Between two injections every open piece of
  // work is done: one that lost two workers is given up (docs/operations.md).
  void Disturb(const std::function<void(Member&)>& inject);

  // Until a random number of bytes, below `bound`, went over that way; false when the job ended.
  bool AwaitInstant(const FollowedJob& job, FaultProxy& way, FaultProxy::Direction direction,
                    uint64_t bound);

  std::chrono::milliseconds keepalive_ = kKeepalive;  // of workers and clients
  int64_t stages_ = 0;                 // of the jobs that are disturbed; 0: by itself
  bool links_between_stages_ = false;  // go through proxies too
  std::vector<Member> members_;
  std::string coordinator_for_clients_;  // through a proxy; empty: directly

 private:
  void ExpectNoProcessLeft() const;
  void PrintLogs() const;

  std::mt19937_64 random_;
};

}  // namespace espalier

#endif  // ESPALIER_TESTS_FAULTS_FAULT_FIXTURE_H_
