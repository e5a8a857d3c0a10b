// What the engine refuses before it computes anything. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_INPUT_CHECKS_H_
#define ESPALIER_WORKER_ENGINE_INPUT_CHECKS_H_

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model_config.h"
#include "common/model_folder.h"
#include "common/stage.h"
#include "common/text.h"

namespace espalier {

// cpu, cuda:0, cuda:1, …
absl::StatusOr<at::Device> ParseDevice(const std::string& name);

// Opens the CUDA module where one is needed. RESOURCE_EXHAUSTED when weights of `needed` bytes do
// not fit.
absl::Status PrepareDevice(const at::Device& device, int64_t needed, const std::string& model);

// RESOURCE_EXHAUSTED when the host has no room for the Gram matrices of the layers.
absl::Status CheckGramMemory(const ModelConfig& config);

// Whole sequences of at least two tokens, all of the vocabulary.
absl::Status CheckTokens(const TokenSequences& sequences, int64_t vocab_size);

// Some layers of the model.
absl::Status CheckStage(const StageRange& stage, const ModelFolder& folder);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_INPUT_CHECKS_H_
