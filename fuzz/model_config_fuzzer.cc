#include <string>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "common/subnet.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr std::string_view kSource = "folder/config.json";

absl::Status CheckSizes(const ModelConfig& config) {
  ESPALIER_RETURN_IF_ERROR(Require(config.num_layers > 0 && config.hidden_size > 0 &&
                                       config.num_kv_heads > 0 && config.intermediate_size > 0 &&
                                       config.vocab_size > 0 && config.max_position_embeddings > 0,
                                   "sizes are positive"));
  ESPALIER_RETURN_IF_ERROR(Require(
      config.queries_per_group() * config.num_kv_heads == config.num_heads, "groups are whole"));
  ESPALIER_RETURN_IF_ERROR(
      Require(config.pairs() > 0 && 2 * config.pairs() == config.head_dim, "dims are pairs"));
  return Require(DenseParameters(config) > 0, "the number of parameters does not overflow");
}

// What a coordinator does with a model before any worker has seen it.
absl::Status CheckJobOf(const ModelConfig& config) {
  JobSpec spec;
  spec.model = "model";
  spec.text.path = "text";
  spec.output = "output";
  spec.ratio = 0.7;
  const absl::StatusOr<JobSpec> resolved = ResolveDefaults(spec, config);
  if (!resolved.ok()) return absl::OkStatus();
  return Require(ValidateJobSpec(*resolved).ok(), "a resolved specification is valid");
}

// Configurations that are written for other readers say the same.
absl::Status CheckWrittenAgain(std::string_view input, const ModelConfig& config) {
  const absl::StatusOr<std::string> padded = PaddedConfigJson(input, config, DType::kFloat16);
  if (!padded.ok()) return padded.status();
  const absl::StatusOr<ModelConfig> again = ParseModelConfig(*padded, kSource);
  if (!again.ok()) return again.status();
  return Require(*again == config, "a written configuration reads back the same");
}

}  // namespace

absl::Status ModelConfigJson(std::string_view input) {
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(input, kSource);
  if (!config.ok()) return RequireNames(config.status(), kSource);
  ESPALIER_RETURN_IF_ERROR(CheckSizes(*config));
  ESPALIER_RETURN_IF_ERROR(CheckJobOf(*config));
  return CheckWrittenAgain(input, *config);
}

}  // namespace espalier::fuzz
