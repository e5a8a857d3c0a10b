// A coordinator that does what a test tells it: the other end of a Worker.
#ifndef ESPALIER_WORKER_SERVICE_TESTING_SCRIPTED_COORDINATOR_H_
#define ESPALIER_WORKER_SERVICE_TESTING_SCRIPTED_COORDINATOR_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/mutex.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {

// Listens on a free port of the loopback. Each stream gets the next epoch, from 1. Thread-safe. All
// waits give up after 20 s.
class ScriptedCoordinator : private v1::WorkerService::Service {
 public:
  struct Options {
    int heartbeat_milliseconds = 20;
    absl::Status refusal = absl::OkStatus();  // answers every hello, if not OK
    bool welcomes = true;                     // otherwise hellos are left without an answer
    std::string address = "127.0.0.1:0";
  };
  struct File {
    std::string bytes;
    std::string sha256;
    std::string job_id;
    uint64_t task_id = 0;
    size_t chunks = 0;
    size_t largest_chunk = 0;
    bool offsets_are_right = true;
    bool named_only_on_first_chunk = true;
  };

  ScriptedCoordinator();
  explicit ScriptedCoordinator(Options options);
  ~ScriptedCoordinator() override;

  const std::string& address() const { return address_; }
  // Until `count` streams have been welcomed (or refused) in all.
  bool WaitForStreams(int count);
  int streams() const;
  bool WaitUntilStreamEnds();
  v1::Hello last_hello() const;

  // On the present stream.
  void Send(const v1::CoordinatorMessage& message);
  void SendTask(v1::Task task);  // sets the epoch
  void SendCancel(uint64_t task_id);
  void SendAck(uint64_t task_id);
  void DropStream();

  // The first message of any stream, from the one after the last that was waited for on, that
  // `matches`; none after 20 s.
  std::optional<v1::WorkerMessage> WaitFor(
      const std::function<bool(const v1::WorkerMessage&)>& matches);
  // Whenever it came.
  std::optional<v1::TaskResult> WaitForResult(uint64_t task_id);
  std::vector<v1::WorkerMessage> messages() const;

  // Uploads are answered with this from now on, instead of being accepted.
  void RefuseUploads(absl::Status status);
  // Reads of uploads wait, so that flow control stops the sender, until Shutdown.
  void StallUploads();
  std::map<std::string, File> files() const;

  void Shutdown();

 private:
  using Stream = grpc::ServerReaderWriter<v1::CoordinatorMessage, v1::WorkerMessage>;
  grpc::Status Attach(grpc::ServerContext* context, Stream* stream) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::ArtifactChunk>* reader,
                              v1::ArtifactReceipt* receipt) override;
  bool WaitUntil(const std::function<bool()>& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  bool stall_uploads_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status upload_refusal_ ABSL_GUARDED_BY(mutex_);
  v1::Hello last_hello_ ABSL_GUARDED_BY(mutex_);
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::vector<v1::WorkerMessage> messages_ ABSL_GUARDED_BY(mutex_);
  size_t next_message_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, File> files_ ABSL_GUARDED_BY(mutex_);
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TESTING_SCRIPTED_COORDINATOR_H_
