// An engine without a model's arithmetic: losses, scores and tensors are hashes of what they would
// depend on. So tests can tell whether the right things reached the engine, and every worker that
// has one gives the same answers.
#ifndef ESPALIER_WORKER_SERVICE_TESTING_FAKE_ENGINE_H_
#define ESPALIER_WORKER_SERVICE_TESTING_FAKE_ENGINE_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "common/subnet.h"
#include "common/text.h"
#include "worker/engine/engine.h"
#include "worker/service/worker.h"

namespace espalier {

// The test's hold on all engines that one loader makes. Thread-safe.
class FakeEngineControl {
 public:
  struct Counts {
    int loads = 0;
    int evaluations = 0;
    int calibrations = 0;
    int importances = 0;
    int predictions = 0;
    int rankings = 0;
    int reformations = 0;
    int exports = 0;
    int live_engines = 0;
    int most_live_engines = 0;   // at one time
    int most_calls_at_once = 0;  // of one or several engines
  };
  enum class Exception { kRuntimeError, kBadAlloc };

  // From now on every call, once it has reported its first half as progress, waits until Release or
  // its cancellation.
  void Block();
  // As Block, but only evaluations, and only after `evaluations` more have passed.
  void BlockAfter(int evaluations);
  void Release();
  // False when no call came to wait within 20 s.
  bool WaitUntilBlocked();
  // The next call fails so.
  void FailNext(absl::Status status);
  void ThrowNext(Exception exception);
  // Every call warns of this from now on.
  void WarnOf(const std::string& text);
  // What the other stages say when all are asked (yes, to begin with).
  void OthersSay(bool yes);
  // Exports leave out their last byte.
  void TruncateExports();
  Counts counts() const;

 private:
  friend class FakeEngine;
  friend EngineLoader FakeEngineLoader(const std::shared_ptr<FakeEngineControl>& control);

  void EngineCreated();
  void EngineDestroyed();
  // Around every call.
  absl::Status Enter(int Counts::*counter, const Control& control);
  void Leave();
  bool Blocks(int number_of_evaluation) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool truncates_exports() const;
  bool others_say() const;

  mutable Mutex mutex_;
  CondVar changed_;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  bool blocks_all_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<int> last_evaluation_ ABSL_GUARDED_BY(mutex_);  // those above this number wait
  std::string warning_ ABSL_GUARDED_BY(mutex_);
  bool others_say_ ABSL_GUARDED_BY(mutex_) = true;
  bool truncates_exports_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status next_failure_ ABSL_GUARDED_BY(mutex_);
  std::optional<Exception> next_exception_ ABSL_GUARDED_BY(mutex_);
};

// Loads any model folder; of its content only config.json matters.
EngineLoader FakeEngineLoader(const std::shared_ptr<FakeEngineControl>& control);

// What the fake answers for one sequence. Falls with the subnet's size; reformation helps.
double FakeNll(const Subnet& subnet, const ModelConfig& config, const int32_t* tokens,
               int64_t sequence_length, bool reformed);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TESTING_FAKE_ENGINE_H_
