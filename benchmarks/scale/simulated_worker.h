// One worker without a model: it answers each task at once, or after a delay.
#ifndef ESPALIER_BENCHMARKS_SCALE_SIMULATED_WORKER_H_
#define ESPALIER_BENCHMARKS_SCALE_SIMULATED_WORKER_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <cstdint>
#include <deque>
#include <memory>

#include "benchmarks/scale/figures.h"
#include "benchmarks/scale/swarm.h"
#include "common/mutex.h"
#include "espalier/v1/worker.pb.h"
#include "thin_worker.pb.h"

namespace espalier::scale {

class SimulatedWorker final
    : public grpc::ClientBidiReactor<v1::WorkerMessage, benchmark::ThinCoordinatorMessage> {
 public:
  // `swarm` outlives it; so does the caller, until swarm->Ended.
  SimulatedWorker(Swarm* swarm, int number);

  void Dial();
  void Break() { context_.TryCancel(); }

 private:
  struct Answered {
    Clock::time_point when;
    int64_t generation = 0;
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  void Welcome(const benchmark::ThinWelcome& welcome);
  void Beat();
  void Take(const benchmark::ThinTask& task);
  void Evaluate(const benchmark::ThinTask& task);
  void AnswerCandidate(uint64_t task, uint64_t epoch, int64_t generation);
  void Answer(v1::WorkerMessage message, uint64_t task, uint64_t epoch);
  void Send(v1::WorkerMessage message);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Swarm* const swarm_;
  const int number_;
  grpc::TemplatedGenericStub<v1::WorkerMessage, benchmark::ThinCoordinatorMessage> stub_;
  grpc::ClientContext context_;
  benchmark::ThinCoordinatorMessage incoming_;
  std::chrono::milliseconds heartbeat_{0};

  Mutex mutex_;
  std::deque<v1::WorkerMessage> outgoing_ ABSL_GUARDED_BY(mutex_);  // the first is written
  std::deque<Answered> answered_ ABSL_GUARDED_BY(mutex_);           // that wait for a next task
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_SIMULATED_WORKER_H_
