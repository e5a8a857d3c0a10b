// A real coordinator, real workers and a real client for end-to-end tests, and the jobs they run.
#ifndef ESPALIER_TESTS_TESTING_CLUSTER_H_
#define ESPALIER_TESTS_TESTING_CLUSTER_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "client/job_client.h"
#include "common/job_spec.h"
#include "coordinator/service/server.h"
#include "espalier/v1/jobs.pb.h"
#include "worker/service/worker.h"

namespace espalier {

// Aborts the test program when it cannot start; a call that fails gives a job in no state.
class TestCluster {
 public:
  TestCluster();

  std::string address() const { return coordinator_->address(); }
  std::unique_ptr<Worker> AddWorker(const EngineLoader& loader) const;
  // Until so many workers are attached.
  void WaitForWorkers(int count) const;

  std::string Submit(const JobSpec& spec) const;
  void Cancel(const std::string& job) const;
  // The job, once it has ended.
  v1::Job WaitForEnd(const std::string& job) const;
  // False when the job ended without reaching the phase.
  bool WaitForPhase(const std::string& job, v1::JobPhase phase) const;
  v1::Job Run(const JobSpec& spec) const { return WaitForEnd(Submit(spec)); }

 private:
  std::unique_ptr<CoordinatorServer> coordinator_;
  std::unique_ptr<JobClient> client_;
};

// A small job on models/orchard: two generations of sixteen candidates. Writes to `output`.
JobSpec OrchardJob(const std::filesystem::path& output);

// Until the folder holds nothing: a job's unfinished result is removed right after its last event.
void WaitUntilEmpty(const std::filesystem::path& folder);

// An empty folder of the running test.
std::filesystem::path FreshFolder();

}  // namespace espalier

#endif  // ESPALIER_TESTS_TESTING_CLUSTER_H_
