#include "benchmarks/scale/simulated_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_keepalive.h"
#include "common/rng.h"
#include "common/version.h"

namespace espalier::scale {
namespace {

constexpr char kMethod[] = "/espalier.v1.WorkerService/Attach";
constexpr int64_t kPlentyOfMemory = int64_t{1} << 40;

std::shared_ptr<grpc::Channel> OwnConnection(const std::string& address) {
  grpc::ChannelArguments arguments;
  // Otherwise all channels of a process share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  SetKeepalive(kKeepalive, &arguments);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

SimulatedWorker::SimulatedWorker(Swarm* swarm, int number)
    : swarm_(swarm), number_(number), stub_(OwnConnection(swarm->options().address)) {}

void SimulatedWorker::Dial() {
  stub_.PrepareBidiStreamingCall(&context_, kMethod, {}, this);
  v1::WorkerMessage message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_name(absl::StrCat("simulated:", number_));
  hello->set_device("cpu");
  hello->set_memory_bytes(kPlentyOfMemory);
  hello->set_threads(1);
  hello->set_version(std::string(kVersion));
  Send(std::move(message));
  StartRead(&incoming_);
  StartCall();
}

void SimulatedWorker::OnReadDone(bool ok) {
  if (!ok) return;
  if (incoming_.has_welcome()) Welcome(incoming_.welcome());
  if (incoming_.has_task()) Take(incoming_.task());
  StartRead(&incoming_);
}

void SimulatedWorker::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  outgoing_.pop_front();
  if (!ok) broken_ = true;
  if (!broken_ && !outgoing_.empty()) WriteNext();
}

void SimulatedWorker::OnDone(const grpc::Status& status) {
  swarm_->Ended(absl::StrCat(number_, ": ", status.error_message()));
}

void SimulatedWorker::Welcome(const benchmark::ThinWelcome& welcome) {
  heartbeat_ = std::chrono::milliseconds(welcome.heartbeat_milliseconds());
  swarm_->Welcomed();
  // Not all at the same moment.
  swarm_->Later(Clock::now() + heartbeat_ * number_ / swarm_->options().workers,
                [this] { Beat(); });
}

void SimulatedWorker::Beat() {
  v1::WorkerMessage message;
  message.mutable_heartbeat()->set_activity("simulating");
  Send(std::move(message));
  swarm_->Later(Clock::now() + heartbeat_, [this] { Beat(); });
}

void SimulatedWorker::Take(const benchmark::ThinTask& task) {
  if (task.has_load()) Answer(swarm_->AnswerLoad(), task.id(), task.epoch());
  if (task.has_calibrate()) Answer(swarm_->AnswerCalibration(), task.id(), task.epoch());
  if (task.has_evaluate()) Evaluate(task);
}

void SimulatedWorker::Evaluate(const benchmark::ThinTask& task) {
  const int64_t generation = swarm_->CandidateCame();
  {
    MutexLock lock(&mutex_);
    if (!answered_.empty()) {
      if (answered_.front().generation == generation) {
        swarm_->dispatch().Add(MillisecondsSince(answered_.front().when));
      }
      answered_.pop_front();
    }
  }
  const auto delay = std::chrono::duration_cast<Clock::duration>(swarm_->options().delay);
  if (delay.count() == 0) return AnswerCandidate(task.id(), task.epoch(), generation);
  RandomStream random(task.id(), RandomPurpose::kTest, 1, 0);
  const auto ready = Clock::now() + delay / 2 + Clock::duration(random.Below(delay.count()));
  swarm_->Later(ready, [this, id = task.id(), epoch = task.epoch(), generation] {
    AnswerCandidate(id, epoch, generation);
  });
}

void SimulatedWorker::AnswerCandidate(uint64_t task, uint64_t epoch, int64_t generation) {
  {
    MutexLock lock(&mutex_);
    answered_.push_back({.when = Clock::now(), .generation = generation});
  }
  swarm_->CandidateAnswered();
  Answer(swarm_->AnswerEvaluation(task), task, epoch);
}

void SimulatedWorker::Answer(v1::WorkerMessage message, uint64_t task, uint64_t epoch) {
  message.mutable_result()->set_task_id(task);
  message.mutable_result()->set_epoch(epoch);
  message.mutable_result()->set_seconds(1);
  Send(std::move(message));
}

void SimulatedWorker::Send(v1::WorkerMessage message) {
  MutexLock lock(&mutex_);
  if (broken_) return;
  outgoing_.push_back(std::move(message));
  if (outgoing_.size() == 1) WriteNext();
}

void SimulatedWorker::WriteNext() { StartWrite(&outgoing_.front()); }

}  // namespace espalier::scale
