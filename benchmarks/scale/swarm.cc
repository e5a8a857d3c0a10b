#include "benchmarks/scale/swarm.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "benchmarks/scale/simulated_worker.h"
#include "common/model_folder.h"
#include "common/rng.h"
#include "common/sha256.h"

namespace espalier::scale {
namespace {

constexpr std::chrono::seconds kPatience{240};

v1::WorkerMessage LoadAnswer(const ModelConfig& config) {
  v1::WorkerMessage message;
  v1::LoadOutcome* load = message.mutable_result()->mutable_load();
  load->set_description("simulated");
  const StageRange whole{0, config.num_layers};
  for (const std::string& name : StageTensorNames(config, Subnet::Dense(config), whole)) {
    v1::TensorDigest* tensor = load->add_tensors();
    tensor->set_name(name);
    tensor->set_sha256(Sha256Hex(name));
  }
  return message;
}

v1::WorkerMessage CalibrationAnswer(const ModelConfig& config) {
  v1::WorkerMessage message;
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    v1::LayerUnitScores* layer = message.mutable_result()->mutable_calibrate()->add_layers();
    for (int64_t g = 0; g < config.num_kv_heads; ++g) {
      auto* group = layer->add_attention();
      for (int64_t p = 0; p < config.pairs(); ++p) group->add_pairs(random.Uniform());
    }
    for (int64_t c = 0; c < config.intermediate_size; ++c) layer->add_mlp(random.Uniform());
  }
  return message;
}

}  // namespace

Swarm::Swarm(const SwarmOptions& options)
    : options_(options),
      load_(LoadAnswer(options.config)),
      calibration_(CalibrationAnswer(options.config)),
      pacer_([this] { Pace(); }) {}

Swarm::~Swarm() {
  Detach();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  pacer_.join();
}

absl::Status Swarm::Attach() {
  for (int i = 0; i < options_.workers; ++i) {
    workers_.push_back(std::make_unique<SimulatedWorker>(this, i));
    workers_.back()->Dial();
  }
  const bool all =
      WaitFor([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return welcomed_ == options_.workers; });
  if (all) return absl::OkStatus();
  MutexLock lock(&mutex_);
  return absl::UnavailableError(
      absl::StrCat(welcomed_, " of ", options_.workers, " attached; ", how_ended_));
}

void Swarm::Detach() {
  for (const auto& worker : workers_) worker->Break();
  MutexLock lock(&mutex_);
  while (ended_ < static_cast<int>(workers_.size()) || pacing_) changed_.Wait(&mutex_);
  // What is due is for workers that are gone.
  due_ = {};
  workers_.clear();
  welcomed_ = ended_ = 0;
}

bool Swarm::WaitForAnswers(int64_t count) {
  return WaitFor([this, count] { return answered_ >= count; });
}

bool Swarm::WaitForTask(int64_t received) {
  return WaitFor([this, received] { return received_ > received; });
}

void Swarm::Rebase(int64_t candidates) { received_ = answered_ = candidates; }

bool Swarm::WaitFor(const std::function<bool()>& condition) {
  MutexLock lock(&mutex_);
  int64_t seen = -1;
  auto deadline = Clock::now() + kPatience;
  while (!condition()) {
    if (ended_ > 0) return false;
    if (seen != answered_) deadline = Clock::now() + kPatience;
    seen = answered_;
    if (Clock::now() > deadline) return false;
    changed_.WaitUntil(&mutex_, Clock::now() + std::chrono::milliseconds(5));
  }
  return true;
}

v1::WorkerMessage Swarm::AnswerEvaluation(uint64_t task) const {
  v1::WorkerMessage message;
  v1::EvaluateOutcome* outcome = message.mutable_result()->mutable_evaluate();
  outcome->set_predictions_per_sequence(options_.predictions);
  RandomStream random(task, RandomPurpose::kTest, 0, 0);
  for (int64_t i = 0; i < options_.sequences; ++i) outcome->add_nll_sums(100 + random.Uniform());
  return message;
}

int64_t Swarm::CandidateCame() {
  const int64_t number = received_++;
  if (number > 0 && number % options_.population == 0 && last_answer_ > 0) {
    const Clock::duration since = Clock::now().time_since_epoch() - Clock::duration(last_answer_);
    turn_.Add(std::chrono::duration<double, std::milli>(since).count());
  }
  return number / options_.population;
}

void Swarm::CandidateAnswered() {
  last_answer_ = Clock::now().time_since_epoch().count();
  ++answered_;
}

void Swarm::Later(Clock::time_point when, std::function<void()> what) {
  MutexLock lock(&mutex_);
  const bool first = due_.empty() || when < due_.top().when;
  due_.push({.when = when, .what = std::move(what)});
  if (first) changed_.NotifyAll();
}

void Swarm::Welcomed() {
  MutexLock lock(&mutex_);
  ++welcomed_;
}

void Swarm::Ended(const std::string& how) {
  MutexLock lock(&mutex_);
  ++ended_;
  how_ended_ = how;
  changed_.NotifyAll();
}

void Swarm::Pace() {
  MutexLock lock(&mutex_);
  while (!stopping_) {
    if (due_.empty()) {
      changed_.Wait(&mutex_);
    } else if (due_.top().when > Clock::now()) {
      changed_.WaitUntil(&mutex_, due_.top().when);
    } else {
      const std::function<void()> what = due_.top().what;
      due_.pop();
      pacing_ = true;
      mutex_.Unlock();
      what();
      mutex_.Lock();
      pacing_ = false;
      changed_.NotifyAll();
    }
  }
}

}  // namespace espalier::scale
