#include "worker/service/testing/scripted_coordinator.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kTestDeadline{20};

}  // namespace

ScriptedCoordinator::ScriptedCoordinator() : ScriptedCoordinator(Options{}) {}

ScriptedCoordinator::ScriptedCoordinator(Options options) : options_(std::move(options)) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ =
      absl::EndsWith(options_.address, ":0") ? absl::StrCat("127.0.0.1:", port) : options_.address;
}

ScriptedCoordinator::~ScriptedCoordinator() { Shutdown(); }

void ScriptedCoordinator::Shutdown() {
  {
    MutexLock lock(&mutex_);
    shut_down_ = true;
    changed_.NotifyAll();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

grpc::Status ScriptedCoordinator::Attach(grpc::ServerContext* context, Stream* stream) {
  v1::WorkerMessage message;
  if (!stream->Read(&message)) return grpc::Status::OK;
  {
    MutexLock lock(&mutex_);
    last_hello_ = message.hello();
    ++streams_;
    if (options_.refusal.ok() && options_.welcomes) {
      v1::CoordinatorMessage welcome;
      welcome.mutable_welcome()->set_worker_id(absl::StrCat("worker-", streams_));
      welcome.mutable_welcome()->set_epoch(streams_);
      welcome.mutable_welcome()->set_heartbeat_milliseconds(options_.heartbeat_milliseconds);
      welcome.mutable_welcome()->set_lease_milliseconds(10 * options_.heartbeat_milliseconds);
      stream->Write(welcome);
      stream_ = stream;
      context_ = context;
    }
    changed_.NotifyAll();
  }
  if (!options_.refusal.ok()) return ToGrpcStatus(options_.refusal);
  while (stream->Read(&message)) {
    MutexLock lock(&mutex_);
    messages_.push_back(message);
    changed_.NotifyAll();
  }
  MutexLock lock(&mutex_);
  stream_ = nullptr;
  context_ = nullptr;
  changed_.NotifyAll();
  return grpc::Status::OK;
}

grpc::Status ScriptedCoordinator::UploadArtifact(grpc::ServerContext* context,
                                                 grpc::ServerReader<v1::ArtifactChunk>* reader,
                                                 v1::ArtifactReceipt* receipt) {
  {
    MutexLock lock(&mutex_);
    if (!upload_refusal_.ok()) return ToGrpcStatus(upload_refusal_);
    while (stall_uploads_ && !shut_down_ && !context->IsCancelled()) {
      changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(5));
    }
  }
  File file;
  std::string name;
  v1::ArtifactChunk chunk;
  while (reader->Read(&chunk)) {
    if (file.chunks++ == 0) {
      name = chunk.name();
      file.job_id = chunk.job_id();
      file.task_id = chunk.task_id();
    } else if (!chunk.name().empty()) {
      file.named_only_on_first_chunk = false;
    }
    if (chunk.offset() != static_cast<int64_t>(file.bytes.size())) file.offsets_are_right = false;
    file.bytes += chunk.data();
    file.largest_chunk = std::max(file.largest_chunk, chunk.data().size());
    if (chunk.last()) file.sha256 = chunk.sha256();
  }
  receipt->set_bytes(static_cast<int64_t>(file.bytes.size()));
  MutexLock lock(&mutex_);
  files_[name] = std::move(file);
  return grpc::Status::OK;
}

bool ScriptedCoordinator::WaitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
  while (!condition()) {
    if (!changed_.WaitUntil(&mutex_, deadline)) return condition();
  }
  return true;
}

bool ScriptedCoordinator::WaitForStreams(int count) {
  MutexLock lock(&mutex_);
  return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return streams_ >= count; });
}

int ScriptedCoordinator::streams() const {
  MutexLock lock(&mutex_);
  return streams_;
}

bool ScriptedCoordinator::WaitUntilStreamEnds() {
  MutexLock lock(&mutex_);
  return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stream_ == nullptr; });
}

v1::Hello ScriptedCoordinator::last_hello() const {
  MutexLock lock(&mutex_);
  return last_hello_;
}

void ScriptedCoordinator::Send(const v1::CoordinatorMessage& message) {
  MutexLock lock(&mutex_);
  if (stream_ != nullptr) stream_->Write(message);
}

void ScriptedCoordinator::SendTask(v1::Task task) {
  v1::CoordinatorMessage message;
  task.set_epoch(streams());
  *message.mutable_task() = std::move(task);
  Send(message);
}

void ScriptedCoordinator::SendCancel(uint64_t task_id) {
  v1::CoordinatorMessage message;
  message.mutable_cancel()->set_task_id(task_id);
  Send(message);
}

void ScriptedCoordinator::SendAck(uint64_t task_id) {
  v1::CoordinatorMessage message;
  message.mutable_ack()->set_task_id(task_id);
  Send(message);
}

void ScriptedCoordinator::DropStream() {
  MutexLock lock(&mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

std::optional<v1::WorkerMessage> ScriptedCoordinator::WaitFor(
    const std::function<bool(const v1::WorkerMessage&)>& matches) {
  std::optional<v1::WorkerMessage> found;
  MutexLock lock(&mutex_);
  WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    while (!found.has_value() && next_message_ < messages_.size()) {
      const v1::WorkerMessage& message = messages_[next_message_++];
      if (matches(message)) found = message;
    }
    return found.has_value();
  });
  return found;
}

std::optional<v1::TaskResult> ScriptedCoordinator::WaitForResult(uint64_t task_id) {
  std::optional<v1::TaskResult> found;
  MutexLock lock(&mutex_);
  WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (const v1::WorkerMessage& message : messages_) {
      if (message.has_result() && message.result().task_id() == task_id) found = message.result();
    }
    return found.has_value();
  });
  return found;
}

std::vector<v1::WorkerMessage> ScriptedCoordinator::messages() const {
  MutexLock lock(&mutex_);
  return messages_;
}

void ScriptedCoordinator::RefuseUploads(absl::Status status) {
  MutexLock lock(&mutex_);
  upload_refusal_ = std::move(status);
}

void ScriptedCoordinator::StallUploads() {
  MutexLock lock(&mutex_);
  stall_uploads_ = true;
}

std::map<std::string, ScriptedCoordinator::File> ScriptedCoordinator::files() const {
  MutexLock lock(&mutex_);
  return files_;
}

}  // namespace espalier
