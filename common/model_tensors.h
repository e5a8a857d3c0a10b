// The tensors of a LLaMA in file order, and which units of a subnet each of their dimensions
// follows; used by model_export.cc, model_folder.cc and model_hash.cc only.
#ifndef ESPALIER_COMMON_MODEL_TENSORS_H_
#define ESPALIER_COMMON_MODEL_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/model_config.h"
#include "common/stage.h"
#include "common/subnet.h"

namespace espalier {

inline constexpr char kEmbeddingName[] = "model.embed_tokens.weight";

enum class Units { kAll, kQuery, kKeyValue, kChannels };

struct Dimension {
  int64_t dense_size = 0;
  Units units = Units::kAll;
};

enum class Module { kNone, kAttention, kMlp };

struct ModelTensor {
  std::string name;  // as LlamaForCausalLM's
  std::vector<Dimension> shape;
  int64_t layer = 0;  // meaningless for Module::kNone
  Module module = Module::kNone;

  // Whether a subnet with these masks has the tensor.
  bool IsIn(const Subnet& masks) const;
  bool IsIn(const StageRange& range, const ModelConfig& config) const;
  std::vector<int64_t> DenseShape() const;
  std::vector<int64_t> CompactShape(const Subnet& masks, const ModelConfig& config) const;
  // Dense indices of what a compact tensor holds along `dimension`, in its order.
  std::vector<int64_t> KeptIndices(size_t dimension, const Subnet& masks,
                                   const ModelConfig& config) const;
};

std::vector<ModelTensor> ModelTensors(const ModelConfig& config);

}  // namespace espalier

#endif  // ESPALIER_COMMON_MODEL_TENSORS_H_
