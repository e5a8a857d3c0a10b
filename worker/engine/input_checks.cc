#include "worker/engine/input_checks.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "worker/cuda/loader.h"
#include "worker/engine/boundary.h"
#include "worker/engine/memory.h"

namespace espalier {

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  absl::string_view number = name;
  if (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &index) && index >= 0) {
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown device \"", name, "\": use cpu or cuda:0, cuda:1, …"));
}

absl::Status PrepareDevice(const at::Device& device, int64_t needed, const std::string& model) {
  int64_t available = 0;
  if (device.is_cuda()) {
    ESPALIER_ASSIGN_OR_RETURN(const CudaModule module, CudaModule::Open());
    ESPALIER_ASSIGN_OR_RETURN(const CudaDevice description, module.Describe(device.index()));
    available = description.free_bytes;
  } else {
    available = AvailableMemory();
  }
  if (available > 0 && needed > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat(model, ": the weights take ", Megabytes(needed), " on ", device.str(),
                     ", and ", Megabytes(available),
                     " are available; use bfloat16 precision, or a device with more memory"));
  }
  return absl::OkStatus();
}

absl::Status CheckGramMemory(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t wide = config.num_heads * config.head_dim;
  const int64_t f = config.intermediate_size;
  const int64_t needed = config.num_layers * (2 * d * d + wide * wide + f * f) * 4;
  const int64_t available = AvailableMemory();
  if (available == 0 || needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the Gram matrices of ", config.num_layers,
                                                   " layers take ", Megabytes(needed), ", and ",
                                                   Megabytes(available), " are available"));
}

absl::Status CheckTokens(const TokenSequences& sequences, int64_t vocab_size) {
  if (sequences.sequence_length < 2 || sequences.count() == 0 ||
      sequences.count() * sequences.sequence_length !=
          static_cast<int64_t>(sequences.tokens.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the token sequences are malformed: ", sequences.tokens.size(), " tokens in sequences of ",
        sequences.sequence_length, "; at least one whole sequence of two tokens is needed"));
  }
  for (size_t i = 0; i < sequences.tokens.size(); ++i) {
    const int32_t token = sequences.tokens[i];
    if (token >= 0 && token < vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " at position ", i, " is outside the model's vocabulary of ",
                     vocab_size, ": the tokenizer does not belong to the model"));
  }
  return absl::OkStatus();
}

absl::Status CheckStage(const StageRange& stage, const ModelFolder& folder) {
  if (stage.first >= 0 && stage.count > 0 && stage.end() <= folder.config.num_layers) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(folder.path.string(), ": a stage of ", stage.count, " layers from layer ",
                   stage.first, " on is not part of a model of ", folder.config.num_layers));
}

}  // namespace espalier
