// A thousand workers in one process: what they have in common.
//
// Each has a TCP connection and a stream of its own, as real ones do. They share gRPC's threads,
// and one thread that paces heartbeats and late answers.
#ifndef ESPALIER_BENCHMARKS_SCALE_SWARM_H_
#define ESPALIER_BENCHMARKS_SCALE_SWARM_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "benchmarks/scale/figures.h"
#include "common/model_config.h"
#include "common/mutex.h"
#include "espalier/v1/worker.pb.h"

namespace espalier::scale {

class SimulatedWorker;

struct SwarmOptions {
  std::string address;
  ModelConfig config;
  int64_t sequences = 0;    // of an evaluation
  int64_t predictions = 0;  // of a sequence
  int64_t population = 0;   // candidates of a generation
  int workers = 0;
  // Of an evaluation, on average: uniform between half and one and a half times this.
  std::chrono::milliseconds delay{0};
};

// Thread-safe.
class Swarm {
 public:
  explicit Swarm(const SwarmOptions& options);
  ~Swarm();

  // Dials all workers; OK when all are attached.
  absl::Status Attach();
  // Ends all streams. The coordinator is thought to be dead: nobody says goodbye.
  void Detach();

  int64_t answered() const { return answered_; }
  // Until so many candidates were answered; false when a stream ended or nothing happens.
  bool WaitForAnswers(int64_t count);
  bool WaitForTask(int64_t received);
  // How many candidates the coordinator counts, at a moment when nobody works.
  void Rebase(int64_t candidates);
  int64_t received() const { return received_; }

  // From an answer that is sent to the next task that is received by that worker, within a
  // generation.
  Durations& dispatch() { return dispatch_; }
  // From a generation's last answer to the next one's first task.
  Durations& turn() { return turn_; }

  // For the workers.
  const SwarmOptions& options() const { return options_; }
  v1::WorkerMessage AnswerLoad() const { return load_; }
  v1::WorkerMessage AnswerCalibration() const { return calibration_; }
  v1::WorkerMessage AnswerEvaluation(uint64_t task) const;
  int64_t CandidateCame();  // returns its generation
  void CandidateAnswered();
  void Later(Clock::time_point when, std::function<void()> what);
  void Welcomed();
  void Ended(const std::string& how);

 private:
  struct Due {
    Clock::time_point when;
    std::function<void()> what;
    bool operator<(const Due& other) const { return when > other.when; }
  };

  void Pace();
  bool WaitFor(const std::function<bool()>& condition);

  const SwarmOptions options_;
  v1::WorkerMessage load_;
  v1::WorkerMessage calibration_;

  std::atomic<int64_t> received_ = 0;
  std::atomic<int64_t> answered_ = 0;
  std::atomic<int64_t> last_answer_ = 0;  // nanoseconds of Clock
  Durations dispatch_;
  Durations turn_;

  Mutex mutex_;
  CondVar changed_;
  std::priority_queue<Due> due_ ABSL_GUARDED_BY(mutex_);
  int welcomed_ ABSL_GUARDED_BY(mutex_) = 0;
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string how_ended_ ABSL_GUARDED_BY(mutex_);
  bool pacing_ ABSL_GUARDED_BY(mutex_) = false;  // something that was due is done just now
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<SimulatedWorker>> workers_;
  std::thread pacer_;
};

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_SWARM_H_
