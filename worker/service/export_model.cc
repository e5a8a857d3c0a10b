#include "worker/service/export_model.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/model_folder.h"
#include "common/safetensors.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// One export's way to the sink; counts bytes.
class Sender {
 public:
  Sender(const v1::Task& task, ArtifactSink* sink, TaskControl* control)
      : task_(task), sink_(sink), control_(control) {}

  absl::StatusOr<std::unique_ptr<ArtifactWriter>> Create(const std::string& name) {
    return sink_->Create(task_, absl::StrCat("compact/", name), control_);
  }

  absl::Status Append(ArtifactWriter* writer, std::string_view bytes) {
    ESPALIER_RETURN_IF_ERROR(control_->CheckCancelled());
    ESPALIER_RETURN_IF_ERROR(writer->Append(bytes));
    bytes_ += static_cast<int64_t>(bytes.size());
    return absl::OkStatus();
  }

  absl::Status SendFile(const std::string& name, std::string_view contents) {
    ESPALIER_ASSIGN_OR_RETURN(const auto writer, Create(name));
    ESPALIER_RETURN_IF_ERROR(Append(writer.get(), contents));
    return writer->Close();
  }

  int64_t bytes() const { return bytes_; }

 private:
  const v1::Task& task_;
  ArtifactSink* const sink_;
  TaskControl* const control_;
  int64_t bytes_ = 0;
};

// The stage's part of the file; the first one begins with the header.
absl::Status SendTensors(int stage, const Subnet& subnet, const ModelConfig& config,
                         const ReformedWeights* reformed, const Control& control,
                         LoadedModel* model, Sender* sender) {
  const Engine& engine = model->engine();
  int64_t missing = 0;
  for (const TensorSpec& tensor : StageTensors(config, subnet, model->dtype(), engine.stage())) {
    missing += tensor.ByteSize();
  }

  ESPALIER_ASSIGN_OR_RETURN(const auto writer,
                            sender->Create(absl::StrCat("model.safetensors.part-", stage)));
  if (HoldsEmbedding(engine.stage())) {
    const std::vector<TensorSpec> all = ExpectedTensors(config, subnet, model->dtype());
    // transformers refuses a file whose metadata does not name the framework.
    ESPALIER_RETURN_IF_ERROR(
        sender->Append(writer.get(), SafetensorsHeader(all, {{"format", "pt"}})));
  }
  const ByteSink append = [&](std::string_view bytes) {
    missing -= static_cast<int64_t>(bytes.size());
    return sender->Append(writer.get(), bytes);
  };
  ESPALIER_RETURN_IF_ERROR(
      model->engine().ExportCompact(subnet, reformed, model->dtype(), append, control));
  if (missing != 0) {
    return absl::InternalError(absl::StrCat("the export of ", model->path().string(), " is ",
                                            missing, " bytes shorter than its header says"));
  }
  return writer->Close();
}

}  // namespace

absl::StatusOr<int64_t> ExportModel(const v1::Task& task, int stage, const Subnet& subnet,
                                    const ModelConfig& config, const ReformedWeights* reformed,
                                    double begin, LoadedModel* model, ArtifactSink* sink,
                                    TaskControl* control) {
  control->SetActivity("exporting the subnet");
  Sender sender(task, sink, control);
  ESPALIER_RETURN_IF_ERROR(
      SendTensors(stage, subnet, config, reformed, control->Part(begin, 1), model, &sender));
  if (!HoldsEmbedding(model->engine().stage())) return sender.bytes();
  ESPALIER_ASSIGN_OR_RETURN(const std::string dense_config,
                            ReadFile(model->path() / "config.json"));
  ESPALIER_ASSIGN_OR_RETURN(const std::string json,
                            CompactConfigJson(dense_config, config, subnet, model->dtype()));
  ESPALIER_RETURN_IF_ERROR(sender.SendFile("config.json", json));
  for (const std::string& name : TokenizerFiles(model->path())) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string contents, ReadFile(model->path() / name));
    ESPALIER_RETURN_IF_ERROR(sender.SendFile(name, contents));
  }
  return sender.bytes();
}

}  // namespace espalier
