#include "coordinator/service/testing/scripted_worker.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/model_folder.h"
#include "common/sha256.h"
#include "common/version.h"
#include "coordinator/service/testing/tiny_folder.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kPatience{20};
constexpr int64_t kSequenceLength = 16;

double Noise(const std::string& text) {
  const std::string digits = Sha256Hex(text).substr(0, 8);
  return static_cast<double>(std::strtoul(digits.c_str(), nullptr, 16) % 100000) / 1e5;
}

Subnet SubnetOf(const v1::SubnetMasks& masks, const ModelConfig& config) {
  Subnet subnet;
  for (const v1::LayerMasks& message : masks.layers()) {
    LayerMask& layer = subnet.layers.emplace_back();
    for (const std::string& group : message.attention()) {
      layer.attention.push_back(*Bitmask::FromBytes(config.pairs(), group));
    }
    layer.mlp = *Bitmask::FromBytes(config.intermediate_size, message.mlp());
  }
  return subnet;
}

void AnswerLoad(const v1::ModelReference& model, v1::LoadOutcome* outcome) {
  const ModelConfig config = *ReadModelConfig(model.path());
  const StageRange stage{model.first_layer(), model.layers()};
  outcome->set_description("scripted");
  for (const std::string& name : StageTensorNames(config, Subnet::Dense(config), stage)) {
    v1::TensorDigest* tensor = outcome->add_tensors();
    tensor->set_name(name);
    tensor->set_sha256(Sha256Hex(absl::StrCat(model.path(), name)));
  }
}

void AnswerCalibration(const v1::Task& task, v1::CalibrateOutcome* outcome) {
  const ModelConfig config = *ReadModelConfig(task.model().path());
  for (int64_t l = 0; l < config.num_layers; ++l) {
    v1::LayerUnitScores* layer = outcome->add_layers();
    for (int64_t g = 0; g < config.num_kv_heads; ++g) {
      auto* group = layer->add_attention();
      for (int64_t p = 0; p < config.pairs(); ++p) {
        group->add_pairs(Noise(absl::StrCat("pair", l, ",", g, ",", p)));
      }
    }
    for (int64_t c = 0; c < config.intermediate_size; ++c) {
      layer->add_mlp(Noise(absl::StrCat("channel", l, ",", c)));
    }
  }
}

void AnswerEvaluation(const v1::EvaluateTask& task, v1::EvaluateOutcome* outcome) {
  const bool reformed = task.has_reformation() && task.reformation().method() != "none";
  const std::string subnet = task.subnet().SerializeAsString();
  for (int64_t i = 0; i < task.sequence_count(); ++i) {
    const double noise = Noise(absl::StrCat(subnet, task.data_set(), task.first_sequence() + i));
    outcome->add_nll_sums((subnet.empty() ? 20 : 30) * (1 + noise) * (reformed ? 0.8 : 1));
  }
  outcome->set_predictions_per_sequence(kSequenceLength - 1);
}

}  // namespace

v1::TaskResult RightAnswer(const v1::Task& task) {
  v1::TaskResult result;
  result.set_task_id(task.id());
  result.set_epoch(task.epoch());
  result.set_seconds(0.25);
  if (task.has_load()) AnswerLoad(task.model(), result.mutable_load());
  if (task.has_calibrate()) AnswerCalibration(task, result.mutable_calibrate());
  if (task.has_evaluate()) AnswerEvaluation(task.evaluate(), result.mutable_evaluate());
  if (task.has_reform()) {
    v1::LinearError* error = result.mutable_reform()->add_errors();
    error->set_layer(1);
    error->set_before(0.5);
    error->set_after(0.25);
  }
  if (task.has_export_()) result.mutable_export_()->set_bytes(1);
  return result;
}

ScriptedWorker::ScriptedWorker(const std::string& address, Options options)
    : options_(std::move(options)),
      stub_(v1::WorkerService::NewStub(
          grpc::CreateChannel(address, grpc::InsecureChannelCredentials()))),
      stream_(stub_->Attach(&context_)) {
  v1::WorkerMessage message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_name(options_.name);
  hello->set_device("cpu");
  hello->set_version(options_.version.empty() ? std::string(kVersion) : options_.version);
  Send(message);
  reader_ = std::thread([this] { Read(); });
  beater_ = std::thread([this] { Beat(); });
}

ScriptedWorker::~ScriptedWorker() {
  Break();
  reader_.join();
  beater_.join();
}

void ScriptedWorker::Read() {
  v1::CoordinatorMessage message;
  while (stream_->Read(&message)) {
    if (message.has_task() && !options_.hold(message.task())) Answer(message.task());
    MutexLock lock(&mutex_);
    if (message.has_welcome()) welcome_ = message.welcome();
    if (message.has_task() && options_.hold(message.task())) held_.push_back(message.task());
    if (message.has_cancel()) cancelled_.insert(message.cancel().task_id());
    if (message.has_ack()) acknowledged_.insert(message.ack().task_id());
    if (message.has_dismissal()) dismissal_ = message.dismissal().reason();
    if (message.has_data_set()) data_sets_.insert(message.data_set().hash());
    changed_.NotifyAll();
  }
  const grpc::Status status = stream_->Finish();
  MutexLock lock(&mutex_);
  end_ = status;
  changed_.NotifyAll();
}

void ScriptedWorker::Beat() {
  MutexLock lock(&mutex_);
  while (!end_.has_value()) {
    const auto next = std::chrono::steady_clock::now() + options_.heartbeat;
    while (!end_.has_value() && changed_.WaitUntil(&mutex_, next)) {
    }
    if (end_.has_value() || !beating_ || !welcome_.has_value()) continue;
    v1::WorkerMessage message;
    message.mutable_heartbeat()->set_activity("scripted");
    mutex_.Unlock();
    Send(message);
    mutex_.Lock();
  }
}

bool ScriptedWorker::WaitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (!changed_.WaitUntil(&mutex_, deadline) && !condition()) return false;
  }
  return true;
}

std::optional<v1::Welcome> ScriptedWorker::WaitForWelcome() {
  MutexLock lock(&mutex_);
  WaitUntil(
      [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return welcome_.has_value() || end_.has_value(); });
  return welcome_;
}

std::optional<v1::Task> ScriptedWorker::WaitForHeldTask() {
  MutexLock lock(&mutex_);
  WaitUntil([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return held_.size() > returned_ || end_.has_value();
  });
  if (held_.size() <= returned_) return std::nullopt;
  return held_[returned_++];
}

bool ScriptedWorker::WaitForCancel(uint64_t task_id) {
  MutexLock lock(&mutex_);
  return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return cancelled_.count(task_id) > 0; });
}

bool ScriptedWorker::WaitForAck(uint64_t task_id) {
  MutexLock lock(&mutex_);
  return WaitUntil([&]()
                       ABSL_NO_THREAD_SAFETY_ANALYSIS { return acknowledged_.count(task_id) > 0; });
}

std::optional<grpc::Status> ScriptedWorker::WaitForEnd() {
  MutexLock lock(&mutex_);
  WaitUntil([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return end_.has_value(); });
  return end_;
}

void ScriptedWorker::Send(const v1::WorkerMessage& message) {
  MutexLock lock(&write_mutex_);
  stream_->Write(message);
}

void ScriptedWorker::SendResult(v1::TaskResult result) {
  v1::WorkerMessage message;
  *message.mutable_result() = std::move(result);
  Send(message);
}

void ScriptedWorker::Answer(const v1::Task& task) {
  if (task.has_export_()) Export(task);
  SendResult(RightAnswer(task));
}

void ScriptedWorker::StopHeartbeats() {
  MutexLock lock(&mutex_);
  beating_ = false;
}

void ScriptedWorker::HalfClose() {
  MutexLock lock(&write_mutex_);
  stream_->WritesDone();
}

void ScriptedWorker::Break() { context_.TryCancel(); }

void ScriptedWorker::Export(const v1::Task& task) {
  const ModelConfig config = *ReadModelConfig(task.model().path());
  const Subnet subnet = SubnetOf(task.export_().subnet(), config);
  const std::string dense = *ReadFile(std::filesystem::path(task.model().path()) / "config.json");
  Upload(task, "compact/config.json", *CompactConfigJson(dense, config, subnet, DType::kFloat32));
  Upload(task, "compact/model.safetensors.part-0", ZeroSafetensors(config, subnet));
}

grpc::Status ScriptedWorker::Upload(const v1::Task& task, const std::string& name,
                                    const std::string& bytes,
                                    const std::function<void(v1::ArtifactChunk&)>& spoil) {
  constexpr size_t kChunk = 1000;
  grpc::ClientContext context;
  v1::ArtifactReceipt receipt;
  const auto writer = stub_->UploadArtifact(&context, &receipt);
  for (size_t offset = 0; offset == 0 || offset < bytes.size(); offset += kChunk) {
    v1::ArtifactChunk chunk;
    chunk.set_job_id(task.job_id());
    chunk.set_task_id(task.id());
    chunk.set_epoch(task.epoch());
    if (offset == 0) chunk.set_name(name);
    chunk.set_offset(static_cast<int64_t>(offset));
    chunk.set_data(bytes.substr(offset, kChunk));
    if (offset + kChunk >= bytes.size()) {
      chunk.set_last(true);
      chunk.set_sha256(Sha256Hex(bytes));
    }
    if (spoil) spoil(chunk);
    if (!writer->Write(chunk)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

std::set<std::string> ScriptedWorker::data_sets() const {
  MutexLock lock(&mutex_);
  return data_sets_;
}

std::string ScriptedWorker::dismissal() const {
  MutexLock lock(&mutex_);
  return dismissal_;
}

}  // namespace espalier
