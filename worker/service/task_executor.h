// From a Task message to engine calls and back: a thin adapter that knows no network.
#ifndef ESPALIER_WORKER_SERVICE_TASK_EXECUTOR_H_
#define ESPALIER_WORKER_SERVICE_TASK_EXECUTOR_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "espalier/v1/worker.pb.h"
#include "worker/service/artifact_sink.h"
#include "worker/service/data_set_store.h"
#include "worker/service/loaded_model.h"
#include "worker/service/task_control.h"
#include "worker/service/worker.h"

namespace espalier {

// Not thread-safe: one task at a time.
class TaskExecutor {
 public:
  struct Options {
    std::string device = "cpu";
    int threads = 0;
    std::string scratch{};  // as EngineOptions::scratch
    EngineLoader loader;
    PathRoots model_roots{};
    const DataSetStore* data_sets = nullptr;  // both must outlive the executor
    ArtifactSink* artifacts = nullptr;
    // The way to the other stages of the replica of that epoch; null for one that is alone. As
    // ReplicaMembership::TransportOf.
    std::function<absl::StatusOr<std::shared_ptr<Transport>>(uint64_t epoch,
                                                             const std::atomic<bool>* cancelled)>
        transport = [](uint64_t, const std::atomic<bool>*) { return nullptr; };
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  explicit TaskExecutor(Options options);

  // Never fails and never throws: what goes wrong is in the result. A cancelled task's error is
  // CANCELLED. `seconds` is the time of the task's own engine call, without the filling of caches.
  v1::TaskResult Execute(const v1::Task& task, TaskControl* control);

 private:
  // What a task that names a subnet works with.
  struct Candidate {
    Subnet subnet;            // of the stage
    Reformation reformation;  // weights are null without reformation
    bool biases = false;      // the reformation gives some
    double begin = 0;         // share of the task that preparing it took
    double seconds = 0;       // and how long
  };

  absl::Status Dispatch(const v1::Task& task, TaskControl* control, v1::TaskResult* result);
  absl::Status Calibrate(const v1::CalibrateTask& task, const Pipeline& pipeline,
                         LoadedModel* model, TaskControl* control, v1::TaskResult* result);
  absl::Status Evaluate(const v1::EvaluateTask& task, const Pipeline& pipeline, LoadedModel* model,
                        TaskControl* control, v1::TaskResult* result);
  absl::Status Reform(const v1::ReformTask& task, const Pipeline& pipeline, LoadedModel* model,
                      TaskControl* control, v1::TaskResult* result);
  absl::Status Export(const v1::Task& task, const Pipeline& pipeline, LoadedModel* model,
                      TaskControl* control, v1::TaskResult* result);
  // `share` of the task goes to a reformation that is not in the cache.
  absl::StatusOr<Candidate> Prepare(Subnet subnet, const v1::ReformationOptions& reformation,
                                    double share, const Pipeline& pipeline, LoadedModel* model,
                                    TaskControl* control);
  absl::Status Timed(v1::TaskResult* result, const std::function<absl::Status()>& work);
  double SecondsSince(std::chrono::steady_clock::time_point start) const;

  const Options options_;
  ModelCache models_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TASK_EXECUTOR_H_
