#include "worker/engine/resident_model.h"

#include <ATen/ATen.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {

at::ScalarType ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBFloat16:
      return at::kBFloat16;
  }
  return at::kFloat;
}

namespace {

class Loader {
 public:
  Loader(const ModelFolder& folder, at::ScalarType type, at::Device device)
      : folder_(folder), type_(type), device_(device) {}

  absl::StatusOr<at::Tensor> Matrix(const std::string& name, int64_t rows, int64_t columns) {
    return Load(name, {rows, columns}, type_, /*transposed=*/false);
  }
  absl::StatusOr<at::Tensor> Transposed(const std::string& name, int64_t rows, int64_t columns) {
    return Load(name, {rows, columns}, type_, /*transposed=*/true);
  }
  absl::StatusOr<at::Tensor> Bias(const std::string& linear) {
    return Load(linear + ".bias", {folder_.config.hidden_size}, at::kFloat, /*transposed=*/false);
  }
  // UNIMPLEMENTED unless the linear's bias, of `rows` values, is zero.
  absl::Status CheckNoBias(const std::string& linear, int64_t rows) {
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor bias,
                              Load(linear + ".bias", {rows}, at::kFloat, /*transposed=*/false));
    if (!bias.any().item<bool>()) return absl::OkStatus();
    return absl::UnimplementedError(
        absl::StrCat(folder_.path.string(), ": ", linear,
                     ".bias is not zero, which Espalier cannot compute: only o_proj and down_proj "
                     "may have a bias"));
  }
  absl::StatusOr<at::Tensor> Norm(const std::string& name) {
    return Load(name, {folder_.config.hidden_size}, at::kFloat, /*transposed=*/false);
  }

 private:
  absl::StatusOr<at::Tensor> Load(const std::string& name, const std::vector<int64_t>& shape,
                                  at::ScalarType type, bool transposed) {
    ESPALIER_ASSIGN_OR_RETURN(TensorView view, folder_.tensors->Get(name, shape));
    const at::Tensor mapped = at::from_blob(const_cast<char*>(view.bytes.data()), shape,
                                            at::TensorOptions().dtype(ScalarTypeOf(view.dtype)));
    const at::Tensor source = transposed ? mapped.t() : mapped;
    at::Tensor owned = at::empty(source.sizes(), at::TensorOptions().dtype(type).device(device_));
    owned.copy_(source);
    return owned;
  }

  const ModelFolder& folder_;
  at::ScalarType type_;
  at::Device device_;
};

absl::Status LoadAttention(Loader* loader, const std::string& prefix, const LayerMask& mask,
                           const ModelConfig& config, ResidentLayer* layer) {
  const int64_t d = config.hidden_size;
  const int64_t keys = 2 * mask.KeptPairs();
  const int64_t queries = keys * config.queries_per_group();
  const std::string attention = prefix + "self_attn.";
  ESPALIER_ASSIGN_OR_RETURN(layer->attention_norm, loader->Norm(prefix + "input_layernorm.weight"));
  ESPALIER_ASSIGN_OR_RETURN(layer->q, loader->Matrix(attention + "q_proj.weight", queries, d));
  ESPALIER_ASSIGN_OR_RETURN(layer->k, loader->Matrix(attention + "k_proj.weight", keys, d));
  ESPALIER_ASSIGN_OR_RETURN(layer->v, loader->Matrix(attention + "v_proj.weight", keys, d));
  ESPALIER_ASSIGN_OR_RETURN(layer->o_transposed,
                            loader->Transposed(attention + "o_proj.weight", d, queries));
  if (!config.attention_bias) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(loader->CheckNoBias(attention + "q_proj", queries));
  ESPALIER_RETURN_IF_ERROR(loader->CheckNoBias(attention + "k_proj", keys));
  ESPALIER_RETURN_IF_ERROR(loader->CheckNoBias(attention + "v_proj", keys));
  ESPALIER_ASSIGN_OR_RETURN(layer->o_bias, loader->Bias(attention + "o_proj"));
  return absl::OkStatus();
}

absl::Status LoadMlp(Loader* loader, const std::string& prefix, int64_t channels,
                     const ModelConfig& config, ResidentLayer* layer) {
  const int64_t d = config.hidden_size;
  ESPALIER_ASSIGN_OR_RETURN(layer->mlp_norm,
                            loader->Norm(prefix + "post_attention_layernorm.weight"));
  ESPALIER_ASSIGN_OR_RETURN(layer->gate,
                            loader->Matrix(prefix + "mlp.gate_proj.weight", channels, d));
  ESPALIER_ASSIGN_OR_RETURN(layer->up, loader->Matrix(prefix + "mlp.up_proj.weight", channels, d));
  ESPALIER_ASSIGN_OR_RETURN(layer->down_transposed,
                            loader->Transposed(prefix + "mlp.down_proj.weight", d, channels));
  if (!config.mlp_bias) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(loader->CheckNoBias(prefix + "mlp.gate_proj", channels));
  ESPALIER_RETURN_IF_ERROR(loader->CheckNoBias(prefix + "mlp.up_proj", channels));
  ESPALIER_ASSIGN_OR_RETURN(layer->down_bias, loader->Bias(prefix + "mlp.down_proj"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ResidentModel> LoadResidentModel(const ModelFolder& folder, const StageRange& stage,
                                                at::ScalarType type, at::Device device) {
  Loader loader(folder, type, device);
  ResidentModel model;
  model.config = StageConfig(folder.config, stage);
  model.first_layer = stage.first;
  model.subnet = StageSubnet(folder.resident(), stage);
  model.type = type;
  model.device = device;
  const ModelConfig& config = model.config;
  const int64_t d = config.hidden_size;
  const bool holds_head = HoldsHead(stage, folder.config);
  const bool tied_head = holds_head && config.tie_word_embeddings;
  if (HoldsEmbedding(stage) || tied_head) {
    ESPALIER_ASSIGN_OR_RETURN(model.embedding,
                              loader.Matrix("model.embed_tokens.weight", config.vocab_size, d));
  }
  model.layers.resize(stage.count);
  for (int64_t i = 0; i < stage.count; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", stage.first + i, ".");
    const LayerMask& mask = model.subnet.layers[i];
    if (mask.HasAttention()) {
      ESPALIER_RETURN_IF_ERROR(LoadAttention(&loader, prefix, mask, config, &model.layers[i]));
    }
    if (mask.HasMlp()) {
      ESPALIER_RETURN_IF_ERROR(
          LoadMlp(&loader, prefix, mask.mlp.Count(), config, &model.layers[i]));
    }
  }
  if (!holds_head) return model;
  ESPALIER_ASSIGN_OR_RETURN(model.final_norm, loader.Norm("model.norm.weight"));
  if (tied_head) {
    model.head = model.embedding;
  } else {
    ESPALIER_ASSIGN_OR_RETURN(model.head, loader.Matrix("lm_head.weight", config.vocab_size, d));
  }
  return model;
}

int64_t ResidentModel::bytes() const {
  int64_t total = 0;
  const auto add = [&total](const at::Tensor& tensor) {
    if (tensor.defined()) total += static_cast<int64_t>(tensor.nbytes());
  };
  add(embedding);
  if (!head.defined() || !head.is_same(embedding)) add(head);
  add(final_norm);
  for (const ResidentLayer& layer : layers) {
    for (const at::Tensor* tensor :
         {&layer.attention_norm, &layer.q, &layer.k, &layer.v, &layer.o_transposed, &layer.mlp_norm,
          &layer.gate, &layer.up, &layer.down_transposed, &layer.o_bias, &layer.down_bias}) {
      add(*tensor);
    }
  }
  return total;
}

}  // namespace espalier
