#include "worker/service/worker.h"

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "common/version.h"
#include "espalier/v1/worker.grpc.pb.h"
#include "worker/service/artifact_upload.h"
#include "worker/service/attach_session.h"
#include "worker/service/coordinator_channel.h"
#include "worker/service/data_set_store.h"
#include "worker/service/device_info.h"
#include "worker/service/replica_membership.h"
#include "worker/service/stage_gpu.h"
#include "worker/service/task_executor.h"
#include "worker/service/task_runner.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// How long Stop waits for the coordinator to take the goodbye.
constexpr std::chrono::seconds kGoodbyeGrace{2};
// Between a stream that ended and the next attempt; doubles up to the second.
constexpr std::chrono::milliseconds kFirstBackoff{100};
constexpr std::chrono::milliseconds kLastBackoff{5000};
// For a welcome on a connection that stands.
constexpr std::chrono::seconds kWelcomeTimeout{30};

v1::Hello MakeHello(const WorkerOptions& options, const DeviceInfo& device,
                    const std::string& stage_address) {
  v1::Hello hello;
  hello.set_name(options.name.empty() ? DefaultWorkerName() : options.name);
  hello.set_device(options.device);
  hello.set_device_name(device.name);
  hello.set_memory_bytes(device.memory_bytes);
  hello.set_threads(options.threads > 0 ? options.threads
                                        : static_cast<int>(std::thread::hardware_concurrency()));
  hello.set_version(std::string(kVersion));
  hello.set_stage_address(stage_address);
  return hello;
}

// Whether trying again with the same coordinator is useless.
bool IsRefusal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

class WorkerImpl final : public Worker {
 public:
  WorkerImpl(WorkerOptions options, const DeviceInfo& device,
             std::unique_ptr<StageServer> stage_server, EngineLoader loader)
      : options_(std::move(options)),
        membership_(std::move(stage_server), options_.security, options_.keepalive,
                    DescribeStageGpu(options_.device, options_.stage_clear_text)),
        hello_(MakeHello(options_, device, StageAddress())),
        channel_(
            MakeCoordinatorChannel(options_.coordinator, options_.security, options_.keepalive)),
        stub_(v1::WorkerService::NewStub(channel_)),
        uploader_(stub_.get()),
        executor_({.device = options_.device,
                   .threads = options_.threads,
                   .scratch = options_.scratch,
                   .loader = std::move(loader),
                   .model_roots = options_.model_roots,
                   .data_sets = &data_sets_,
                   .artifacts = &uploader_,
                   .transport =
                       [this](uint64_t epoch, const std::atomic<bool>* cancelled) {
                         return membership_.TransportOf(epoch, cancelled);
                       }}),
        runner_([this](const v1::Task& task,
                       TaskControl* control) { return executor_.Execute(task, control); },
                [this](const v1::TaskResult& result) {
                  if (const auto session = CurrentSession()) session->Send(result);
                },
                [this] {
                  if (const auto session = CurrentSession()) session->HeartbeatSoon();
                }),
        thread_([this] { Finish(Serve()); }) {}

  ~WorkerImpl() override {
    Stop();
    thread_.join();
  }

  void Stop() override {
    runner_.EndEpoch();
    const Clock::time_point deadline = Clock::now() + kGoodbyeGrace;
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
    if (session_ != nullptr) session_->SayGoodbye("the worker is stopping");
    while (!done_ && Clock::now() < deadline) changed_.WaitUntil(&mutex_, deadline);
    if (!done_ && session_ != nullptr) session_->Abort();
  }

  absl::Status Wait() override {
    MutexLock lock(&mutex_);
    while (!done_) changed_.Wait(&mutex_);
    return outcome_;
  }

 private:
  std::string StageAddress() const {
    const bool dialled_elsewhere =
        !options_.stage_listen.empty() && !options_.stage_advertise.empty();
    return dialled_elsewhere ? options_.stage_advertise : membership_.address();
  }

  // Attaches again and again until stopped, refused or out of time.
  absl::Status Serve() {
    Clock::time_point deadline = GiveUpTime();
    Clock::duration backoff = kFirstBackoff;
    ConnectionDoctor doctor(options_.coordinator, options_.security);
    while (true) {
      absl::Status connected = AwaitConnection(
          channel_, deadline, [this] { return stopping(); }, &doctor);
      if (stopping()) return absl::OkStatus();
      if (absl::IsUnauthenticated(connected)) return connected;
      if (!connected.ok()) return NotReached(connected);
      bool welcomed = false;
      const absl::Status ended = Attach(deadline, &welcomed);
      if (stopping()) return absl::OkStatus();
      if (welcomed) {
        spdlog::warn("lost the coordinator at {}: {}; attaching again", options_.coordinator,
                     ended.ok() ? "it closed the stream" : std::string(ended.message()));
        deadline = GiveUpTime();
        backoff = kFirstBackoff;
      } else if (IsRefusal(ended)) {
        return absl::FailedPreconditionError(
            absl::StrCat("the coordinator at ", options_.coordinator,
                         " refused this worker: ", ended.message()));
      } else if (Clock::now() >= deadline) {
        return NotReached(ended);
      }
      Pause(std::min(Clock::now() + backoff, deadline));
      backoff = std::min<Clock::duration>(2 * backoff, kLastBackoff);
    }
  }

  // One stream.
  absl::Status Attach(Clock::time_point deadline, bool* welcomed) {
    const auto session = std::make_shared<AttachSession>(
        stub_.get(), hello_,
        AttachSession::Handlers{
            .welcome = [this](const v1::Welcome& welcome) { OnWelcome(welcome); },
            .message = [this](const v1::CoordinatorMessage& message) { OnMessage(message); },
            .heartbeat = [this] { return runner_.Heartbeat(); }});
    if (!SetSession(session)) return absl::CancelledError("stopped");
    absl::Status status = session->Run(std::min(deadline, Clock::now() + kWelcomeTimeout));
    SetSession(nullptr);
    runner_.EndEpoch();
    membership_.Leave();
    *welcomed = session->welcomed();
    return status;
  }

  void OnWelcome(const v1::Welcome& welcome) {
    spdlog::info("attached to {} as {}", options_.coordinator, welcome.worker_id());
    data_sets_.Clear();
    runner_.BeginEpoch(welcome.epoch());
  }

  void OnMessage(const v1::CoordinatorMessage& message) {
    if (message.has_task()) {
      runner_.Add(message.task());
    } else if (message.has_data_set()) {
      const absl::Status status = data_sets_.Add(message.data_set());
      // The tasks that need it will say that it is missing.
      if (!status.ok()) spdlog::error("{}", std::string(status.message()));
    } else if (message.has_cancel()) {
      runner_.Cancel(message.cancel().task_id());
    } else if (message.has_ack()) {
      runner_.Acknowledge(message.ack().task_id());
    } else if (message.has_dismissal()) {
      spdlog::info("the coordinator sends this worker away: {}", message.dismissal().reason());
      MutexLock lock(&mutex_);
      stopping_ = true;  // the stream ends now
    } else if (message.has_join()) {
      // In this order: what then fails for want of the old stages is not reported any more.
      runner_.BeginEpoch(message.join().epoch());
      membership_.Join(message.join());
    } else {
      spdlog::warn("ignored a message of a kind that this version does not know");
    }
  }

  absl::Status NotReached(const absl::Status& reason) const {
    return absl::UnavailableError(absl::StrCat(
        "no coordinator answered at ", options_.coordinator, " within ",
        std::chrono::duration<double>(options_.connect_timeout).count(), " s (", reason.message(),
        "); start espalier-coordinator there, or correct the address"));
  }

  Clock::time_point GiveUpTime() const {
    return options_.connect_timeout.count() == 0 ? Clock::time_point::max()
                                                 : Clock::now() + options_.connect_timeout;
  }

  void Pause(Clock::time_point until) {
    MutexLock lock(&mutex_);
    while (!stopping_ && Clock::now() < until) changed_.WaitUntil(&mutex_, until);
  }

  bool stopping() const {
    MutexLock lock(&mutex_);
    return stopping_;
  }

  // False, without effect, once stopping.
  bool SetSession(std::shared_ptr<AttachSession> session) {
    MutexLock lock(&mutex_);
    if (stopping_ && session != nullptr) return false;
    session_ = std::move(session);
    return true;
  }

  std::shared_ptr<AttachSession> CurrentSession() const {
    MutexLock lock(&mutex_);
    return session_;
  }

  void Finish(absl::Status outcome) {
    MutexLock lock(&mutex_);
    done_ = true;
    outcome_ = std::move(outcome);
    changed_.NotifyAll();
  }

  const WorkerOptions options_;
  ReplicaMembership membership_;
  const v1::Hello hello_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::WorkerService::StubInterface> stub_;
  DataSetStore data_sets_;
  ArtifactUploader uploader_;
  TaskExecutor executor_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<AttachSession> session_ ABSL_GUARDED_BY(mutex_);  // null between streams
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status outcome_ ABSL_GUARDED_BY(mutex_);

  TaskRunner runner_;   // its thread uses everything above
  std::thread thread_;  // uses everything above, last
};

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerOptions& options,
                                                      EngineLoader loader) {
  if (options.coordinator.empty()) {
    return absl::InvalidArgumentError("no coordinator address given (--coordinator HOST:PORT)");
  }
  if (options.threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads ", options.threads, " is negative; 0 means all cores"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const DeviceInfo device, DetectDevice(options.device));
  std::unique_ptr<StageServer> stage_server;
  if (!options.stage_listen.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(
        stage_server,
        StageServer::Start(options.stage_listen, options.stage_tls, options.keepalive));
  }
  return std::make_unique<WorkerImpl>(options, device, std::move(stage_server), std::move(loader));
}

}  // namespace espalier
