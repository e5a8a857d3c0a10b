// The folders that hold models: an HF folder of a dense LLaMA, or Espalier's compact export.
//
// A compact folder's config.json has "model_type": "espalier_compact", the dense model's
// dimensions, and "masks" as in subnet.json; its tensors have HF names and the kept sizes: with n_g
// kept pairs in group g, q_proj [r·Σ 2n_g, d], k_proj and v_proj [Σ 2n_g, d], o_proj [d, r·Σ 2n_g],
// gate/up_proj [f', d], down_proj [d, f']. Rows of a head are its kept pairs' first dims,
// ascending, then their second dims. Heads stay in the dense order. Absent modules have no tensors
// and no norm. A subnet with compensating biases (docs/method.md, "Baselines") has "attention_bias"
// and "mlp_bias": biases of o and down, and zeros for the other linears.
#ifndef ESPALIER_COMMON_MODEL_FOLDER_H_
#define ESPALIER_COMMON_MODEL_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model_config.h"
#include "common/model_digest.h"
#include "common/safetensors.h"
#include "common/stage.h"
#include "common/subnet.h"

namespace espalier {

struct ModelFolder {
  std::filesystem::path path;
  ModelConfig config;           // of the dense model
  std::optional<Subnet> masks;  // of a compact folder
  std::shared_ptr<const SafetensorsReader> tensors;

  Subnet resident() const { return masks.has_value() ? *masks : Subnet::Dense(config); }
};

// Opens either kind, and checks that every tensor that the model needs is there in its shape.
absl::StatusOr<ModelFolder> OpenModelFolder(const std::filesystem::path& path);

// The tensors that a model (masks = Subnet::Dense) or compact model holds, in file order:
// embedding, per layer, final norm, lm_head unless tied. DType is `dtype` for all.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config, const Subnet& masks,
                                        DType dtype);
// Those of them that belong to one stage; the ranges of a pipeline give all of them, in file order.
// `masks` are the whole model's.
std::vector<TensorSpec> StageTensors(const ModelConfig& config, const Subnet& masks, DType dtype,
                                     const StageRange& range);

// Dense row (or column) index of each row of a compact q (o's columns are the same) or k/v.
std::vector<int64_t> QueryRows(const LayerMask& mask, const ModelConfig& config);
std::vector<int64_t> KeyValueRows(const LayerMask& mask, const ModelConfig& config);

// The configuration of the model that a reformation of `config` leaves: with biases, if it gives
// some.
ModelConfig ReformedConfig(const ModelConfig& config, bool biases);

// "config.json" of a compact folder, and of the padded one (an ordinary LlamaForCausalLM). `dtype`
// is the tensors'. `dense_config_json` is the original's text: keys that Espalier does not know
// (token ids, …) are carried over.
absl::StatusOr<std::string> CompactConfigJson(std::string_view dense_config_json,
                                              const ModelConfig& config, const Subnet& masks,
                                              DType dtype);
absl::StatusOr<std::string> PaddedConfigJson(std::string_view dense_config_json,
                                             const ModelConfig& config, DType dtype);

// Reads the compact folder `compact` and writes `padded`: the dense shapes, omitted units zero, the
// compact folder's tokenizer files copied. Any LLaMA implementation that loads it computes the
// subnet (mask equivalence: the softmax scale and the kept pairs' frequencies are the dense ones).
absl::Status WritePadded(const std::filesystem::path& compact, const std::filesystem::path& padded);

// Names of the files, among those that `folder` has, that a tokenizer needs to be used elsewhere.
std::vector<std::string> TokenizerFiles(const std::filesystem::path& folder);

// Names of the tensors that a stage computes with: its StageTensors, and on the last stage a tied
// embedding too.
std::set<std::string> StageTensorNames(const ModelConfig& config, const Subnet& masks,
                                       const StageRange& range);

// Both require a folder that OpenModelFolder returned. The first reads the stage's weights and no
// others, the second all: the hash is that of the digest of the whole.
ModelDigest DigestStage(const ModelFolder& folder, const StageRange& range);
std::string ModelHash(const ModelFolder& folder);

}  // namespace espalier

#endif  // ESPALIER_COMMON_MODEL_FOLDER_H_
