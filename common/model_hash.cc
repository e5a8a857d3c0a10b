// Digests of a model's tensors on disk (common/model_digest.h).
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/model_folder.h"
#include "common/model_tensors.h"
#include "common/sha256.h"

namespace espalier {
namespace {

std::string TensorHash(const std::string& name, const TensorView& view) {
  Sha256 hash;
  hash.Update(absl::StrCat(name, "\n", std::string(DTypeName(view.dtype)), "\n",
                           absl::StrJoin(view.shape, ","), "\n"));
  hash.Update(view.bytes);
  return hash.HexDigest();
}

std::string Description(const ModelFolder& folder) {
  const ModelConfig& config = folder.config;
  std::string line = absl::StrFormat(
      "heads %d kv_heads %d head_dim %d rms_norm_eps %.17g rope_theta %.17g", config.num_heads,
      config.num_kv_heads, config.head_dim, config.rms_norm_eps, config.rope_theta);
  if (config.rope_scaling.has_value()) {
    const Llama3RopeScaling& scaling = *config.rope_scaling;
    absl::StrAppendFormat(&line, " llama3 %.17g %.17g %.17g %d", scaling.factor,
                          scaling.low_freq_factor, scaling.high_freq_factor,
                          scaling.original_max_position_embeddings);
  }
  if (folder.masks.has_value()) absl::StrAppend(&line, " masks ", Fingerprint(*folder.masks));
  return line;
}

}  // namespace

std::set<std::string> StageTensorNames(const ModelConfig& config, const Subnet& masks,
                                       const StageRange& range) {
  std::set<std::string> names;
  for (const TensorSpec& spec : StageTensors(config, masks, DType::kFloat32, range)) {
    names.insert(spec.name);
  }
  if (config.tie_word_embeddings && HoldsHead(range, config)) names.insert(kEmbeddingName);
  return names;
}

ModelDigest DigestStage(const ModelFolder& folder, const StageRange& range) {
  ModelDigest digest{.description = Description(folder), .tensors = {}};
  for (const std::string& name : StageTensorNames(folder.config, folder.resident(), range)) {
    digest.tensors[name] = TensorHash(name, folder.tensors->Get(name).value());
  }
  return digest;
}

std::string ModelHash(const ModelFolder& folder) {
  return HashOf(DigestStage(folder, WholeModel(folder.config)));
}

}  // namespace espalier
