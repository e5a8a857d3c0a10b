#include "common/model_tensors.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/model_folder.h"

namespace espalier {
namespace {

// Dense rows of one head's kept pairs: their first dims, then their second ones.
void AppendHeadRows(const Bitmask& pairs, int64_t head, std::vector<int64_t>* rows) {
  const std::vector<int64_t> kept = pairs.Indices();
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t pair : kept) rows->push_back((2 * head + half) * pairs.size() + pair);
  }
}

int64_t KeptCount(const Dimension& dimension, const LayerMask& mask, const ModelConfig& config) {
  switch (dimension.units) {
    case Units::kAll:
      return dimension.dense_size;
    case Units::kQuery:
      return 2 * mask.KeptPairs() * config.queries_per_group();
    case Units::kKeyValue:
      return 2 * mask.KeptPairs();
    case Units::kChannels:
      return mask.mlp.Count();
  }
  return 0;
}

void AppendLayer(const ModelConfig& config, int64_t layer, std::vector<ModelTensor>* tensors) {
  const Dimension hidden{config.hidden_size, Units::kAll};
  const Dimension query{config.num_heads * config.head_dim, Units::kQuery};
  const Dimension key_value{config.num_kv_heads * config.head_dim, Units::kKeyValue};
  const Dimension channels{config.intermediate_size, Units::kChannels};
  const auto add = [&](Module module, const char* name, std::vector<Dimension> shape) {
    const std::string linear = absl::StrCat("model.layers.", layer, ".", name);
    const bool matrix = shape.size() == 2;
    const Dimension out = shape.front();
    tensors->push_back(
        {.name = linear + ".weight", .shape = std::move(shape), .layer = layer, .module = module});
    const bool bias = module == Module::kMlp ? config.mlp_bias : config.attention_bias;
    if (!matrix || !bias) return;
    tensors->push_back(
        {.name = linear + ".bias", .shape = {out}, .layer = layer, .module = module});
  };
  add(Module::kAttention, "input_layernorm", {hidden});
  add(Module::kAttention, "self_attn.q_proj", {query, hidden});
  add(Module::kAttention, "self_attn.k_proj", {key_value, hidden});
  add(Module::kAttention, "self_attn.v_proj", {key_value, hidden});
  add(Module::kAttention, "self_attn.o_proj", {hidden, query});
  add(Module::kMlp, "post_attention_layernorm", {hidden});
  add(Module::kMlp, "mlp.gate_proj", {channels, hidden});
  add(Module::kMlp, "mlp.up_proj", {channels, hidden});
  add(Module::kMlp, "mlp.down_proj", {hidden, channels});
}

}  // namespace

bool ModelTensor::IsIn(const Subnet& masks) const {
  switch (module) {
    case Module::kNone:
      return true;
    case Module::kAttention:
      return masks.layers[layer].HasAttention();
    case Module::kMlp:
      return masks.layers[layer].HasMlp();
  }
  return false;
}

std::vector<int64_t> ModelTensor::DenseShape() const {
  std::vector<int64_t> sizes;
  for (const Dimension& dimension : shape) sizes.push_back(dimension.dense_size);
  return sizes;
}

std::vector<int64_t> ModelTensor::CompactShape(const Subnet& masks,
                                               const ModelConfig& config) const {
  if (module == Module::kNone) return DenseShape();
  std::vector<int64_t> sizes;
  for (const Dimension& dimension : shape) {
    sizes.push_back(KeptCount(dimension, masks.layers[layer], config));
  }
  return sizes;
}

std::vector<int64_t> ModelTensor::KeptIndices(size_t dimension, const Subnet& masks,
                                              const ModelConfig& config) const {
  if (shape[dimension].units == Units::kAll) {
    std::vector<int64_t> all(shape[dimension].dense_size);
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  const LayerMask& mask = masks.layers[layer];  // only layers have other units
  if (shape[dimension].units == Units::kChannels) return mask.mlp.Indices();
  return shape[dimension].units == Units::kQuery ? QueryRows(mask, config)
                                                 : KeyValueRows(mask, config);
}

bool ModelTensor::IsIn(const StageRange& range, const ModelConfig& config) const {
  if (module != Module::kNone) return layer >= range.first && layer < range.end();
  return name == kEmbeddingName ? HoldsEmbedding(range) : HoldsHead(range, config);
}

std::vector<ModelTensor> ModelTensors(const ModelConfig& config) {
  const std::vector<Dimension> vocabulary_by_hidden = {{config.vocab_size, Units::kAll},
                                                       {config.hidden_size, Units::kAll}};
  std::vector<ModelTensor> tensors;
  tensors.push_back({.name = kEmbeddingName, .shape = vocabulary_by_hidden});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) AppendLayer(config, layer, &tensors);
  tensors.push_back({.name = "model.norm.weight", .shape = {{config.hidden_size, Units::kAll}}});
  if (!config.tie_word_embeddings) {
    tensors.push_back({.name = "lm_head.weight", .shape = vocabulary_by_hidden});
  }
  return tensors;
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config, const Subnet& masks,
                                        DType dtype) {
  return StageTensors(config, masks, dtype, WholeModel(config));
}

std::vector<TensorSpec> StageTensors(const ModelConfig& config, const Subnet& masks, DType dtype,
                                     const StageRange& range) {
  std::vector<TensorSpec> specs;
  for (const ModelTensor& tensor : ModelTensors(config)) {
    if (!tensor.IsIn(masks) || !tensor.IsIn(range, config)) continue;
    specs.push_back(
        {.name = tensor.name, .dtype = dtype, .shape = tensor.CompactShape(masks, config)});
  }
  return specs;
}

std::vector<int64_t> QueryRows(const LayerMask& mask, const ModelConfig& config) {
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < config.num_heads; ++head) {
    AppendHeadRows(mask.attention[head / config.queries_per_group()], head, &rows);
  }
  return rows;
}

std::vector<int64_t> KeyValueRows(const LayerMask& mask, const ModelConfig& config) {
  std::vector<int64_t> rows;
  for (int64_t group = 0; group < config.num_kv_heads; ++group) {
    AppendHeadRows(mask.attention[group], group, &rows);
  }
  return rows;
}

}  // namespace espalier
