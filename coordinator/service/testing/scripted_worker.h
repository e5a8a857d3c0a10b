// A worker that does what a test tells it: the other end of WorkerService, without any model.
//
// Its answers are hashes of the task, so every such worker gives the same ones.
#ifndef ESPALIER_COORDINATOR_SERVICE_TESTING_SCRIPTED_WORKER_H_
#define ESPALIER_COORDINATOR_SERVICE_TESTING_SCRIPTED_WORKER_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {

// Thread-safe. All waits give up after 20 s.
class ScriptedWorker {
 public:
  using Matcher = std::function<bool(const v1::Task&)>;
  struct Options {
    std::string name = "scripted";
    std::string version;  // empty: the right one
    std::chrono::milliseconds heartbeat{50};
    // Tasks that are not answered by themselves; all others are, rightly.
    Matcher hold = [](const v1::Task&) { return false; };
  };

  ScriptedWorker(const std::string& address, Options options);
  ~ScriptedWorker();  // breaks the connection if it stands

  std::optional<v1::Welcome> WaitForWelcome();
  // The oldest task that is held and was not yet returned by this; none in time or at the end.
  std::optional<v1::Task> WaitForHeldTask();
  bool WaitForCancel(uint64_t task_id);
  bool WaitForAck(uint64_t task_id);
  // How the stream ended.
  std::optional<grpc::Status> WaitForEnd();

  void Answer(const v1::Task& task);  // rightly; an export uploads first
  void SendResult(v1::TaskResult result);
  void Send(const v1::WorkerMessage& message);
  void StopHeartbeats();
  void HalfClose();
  void Break();  // the connection, without a word

  // One upload of a whole file in chunks of 1000 bytes; `spoil` may change each chunk.
  grpc::Status Upload(const v1::Task& task, const std::string& name, const std::string& bytes,
                      const std::function<void(v1::ArtifactChunk&)>& spoil = {});

  std::set<std::string> data_sets() const;
  std::string dismissal() const;  // its reason; empty: none came

 private:
  void Read();
  void Beat();
  void Export(const v1::Task& task);
  bool WaitUntil(const std::function<bool()>& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream_;

  Mutex write_mutex_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::optional<v1::Welcome> welcome_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Task> held_ ABSL_GUARDED_BY(mutex_);
  size_t returned_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::set<uint64_t> acknowledged_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> data_sets_ ABSL_GUARDED_BY(mutex_);
  std::string dismissal_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool beating_ ABSL_GUARDED_BY(mutex_) = true;
  std::thread reader_;
  std::thread beater_;
};

// The right answer to any task but an export.
v1::TaskResult RightAnswer(const v1::Task& task);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_TESTING_SCRIPTED_WORKER_H_
