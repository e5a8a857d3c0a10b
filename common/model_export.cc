// The part of model_folder.h that writes: configurations and the padded copy.
#include <algorithm>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/json.h"
#include "common/model_folder.h"
#include "common/model_tensors.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr size_t kPieceBytes = size_t{1} << 20;

const char* TorchName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
  }
  return "";
}

absl::StatusOr<OrderedJson> ParseDenseConfig(std::string_view text) {
  OrderedJson root = ParseJson<OrderedJson>(text);
  if (root.is_object()) return root;
  return absl::InvalidArgumentError("the dense model's config.json is not a JSON object");
}

// Both spellings of transformers, because each version reads its own.
void SetRope(const ModelConfig& config, OrderedJson* root) {
  OrderedJson scaling = OrderedJson::object({{"rope_type", "default"}});
  if (config.rope_scaling) {
    scaling = {{"rope_type", "llama3"},
               {"factor", config.rope_scaling->factor},
               {"low_freq_factor", config.rope_scaling->low_freq_factor},
               {"high_freq_factor", config.rope_scaling->high_freq_factor},
               {"original_max_position_embeddings",
                config.rope_scaling->original_max_position_embeddings}};
  }
  (*root)["rope_theta"] = config.rope_theta;
  (*root)["rope_scaling"] = config.rope_scaling ? scaling : OrderedJson();
  scaling["rope_theta"] = config.rope_theta;
  (*root)["rope_parameters"] = std::move(scaling);
}

// Everything that Espalier knows is written out, so that no reader's defaults matter.
void SetKnownKeys(const ModelConfig& config, DType dtype, OrderedJson* root) {
  OrderedJson& json = *root;
  json["num_hidden_layers"] = config.num_layers;
  json["hidden_size"] = config.hidden_size;
  json["num_attention_heads"] = config.num_heads;
  json["num_key_value_heads"] = config.num_kv_heads;
  json["head_dim"] = config.head_dim;
  json["intermediate_size"] = config.intermediate_size;
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["attention_bias"] = config.attention_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["hidden_act"] = "silu";
  json["torch_dtype"] = TorchName(dtype);  // transformers 4
  json["dtype"] = TorchName(dtype);        // transformers 5
  SetRope(config, root);
}

// Writes to a file in pieces, so that the rows of a matrix do not each cost a system call.
class PieceWriter {
 public:
  explicit PieceWriter(FileWriter* file) : file_(file) {}

  absl::Status Append(std::string_view bytes) {
    if (bytes.size() >= kPieceBytes) {  // as it is: nothing to gather
      ESPALIER_RETURN_IF_ERROR(Flush());
      return file_->Append(bytes);
    }
    piece_.append(bytes);
    return piece_.size() >= kPieceBytes ? Flush() : absl::OkStatus();
  }
  absl::Status AppendZeros(int64_t count) {
    const std::string zeros(std::min<int64_t>(count, kPieceBytes), '\0');
    for (; count > 0; count -= std::min<int64_t>(count, kPieceBytes)) {
      const std::string_view bytes = zeros;
      ESPALIER_RETURN_IF_ERROR(Append(bytes.substr(0, std::min<int64_t>(count, kPieceBytes))));
    }
    return absl::OkStatus();
  }
  absl::Status Flush() {
    absl::Status status = file_->Append(piece_);
    piece_.clear();
    return status;
  }

 private:
  FileWriter* file_;
  std::string piece_;
};

// The columns of a compact row, put back to their dense places in `row`.
void ScatterRow(std::string_view compact, const std::vector<int64_t>& columns, int64_t item_size,
                std::string* row) {
  for (size_t i = 0; i < columns.size(); ++i) {
    std::memcpy(row->data() + columns[i] * item_size, compact.data() + i * item_size, item_size);
  }
}

// Row by row: zeros up to each kept row, then its elements in their dense columns. A bias is a
// matrix of one column.
absl::Status WritePaddedMatrix(const TensorView& compact, const std::vector<int64_t>& dense_shape,
                               const std::vector<int64_t>& rows,
                               const std::vector<int64_t>& columns, PieceWriter* out) {
  const int64_t item_size = ItemSize(compact.dtype);
  const int64_t row_bytes = (dense_shape.size() == 2 ? dense_shape[1] : 1) * item_size;
  const int64_t compact_row_bytes = static_cast<int64_t>(columns.size()) * item_size;
  std::vector<int64_t> compact_row(dense_shape[0], -1);
  for (size_t i = 0; i < rows.size(); ++i) compact_row[rows[i]] = static_cast<int64_t>(i);
  std::string row(row_bytes, '\0');  // omitted columns stay zero
  for (int64_t source : compact_row) {
    if (source < 0) {
      ESPALIER_RETURN_IF_ERROR(out->AppendZeros(row_bytes));
      continue;
    }
    ScatterRow(compact.bytes.substr(source * compact_row_bytes, compact_row_bytes), columns,
               item_size, &row);
    ESPALIER_RETURN_IF_ERROR(out->Append(row));
  }
  return absl::OkStatus();
}

// A compact folder and what its padded copy will hold: one spec for each tensor.
struct PaddingPlan {
  ModelFolder folder;
  std::vector<ModelTensor> tensors;
  std::vector<TensorSpec> specs;
  DType dtype = DType::kFloat32;  // the embedding's, and of tensors that the subnet does not have
};

absl::StatusOr<PaddingPlan> PlanPadding(const fs::path& compact) {
  PaddingPlan plan;
  ESPALIER_ASSIGN_OR_RETURN(plan.folder, OpenModelFolder(compact));
  if (!plan.folder.masks) {
    return absl::InvalidArgumentError(absl::StrCat(
        compact.string(), " is not a compact model of Espalier: there is nothing to pad"));
  }
  plan.tensors = ModelTensors(plan.folder.config);
  ESPALIER_ASSIGN_OR_RETURN(const TensorView embedding,
                            plan.folder.tensors->Get(plan.tensors.front().name));
  plan.dtype = embedding.dtype;
  for (const ModelTensor& tensor : plan.tensors) {
    TensorSpec spec{.name = tensor.name, .dtype = plan.dtype, .shape = tensor.DenseShape()};
    if (tensor.IsIn(*plan.folder.masks)) {
      ESPALIER_ASSIGN_OR_RETURN(const TensorView view, plan.folder.tensors->Get(tensor.name));
      spec.dtype = view.dtype;
    }
    plan.specs.push_back(std::move(spec));
  }
  return plan;
}

absl::Status WritePaddedTensor(const PaddingPlan& plan, size_t index, PieceWriter* out) {
  const ModelTensor& tensor = plan.tensors[index];
  const TensorSpec& spec = plan.specs[index];
  const Subnet& masks = *plan.folder.masks;
  if (!tensor.IsIn(masks)) return out->AppendZeros(spec.ByteSize());
  ESPALIER_ASSIGN_OR_RETURN(const TensorView compact, plan.folder.tensors->Get(tensor.name));
  if (compact.shape == spec.shape) return out->Append(compact.bytes);  // nothing was omitted
  const std::vector<int64_t> columns = spec.shape.size() == 2
                                           ? tensor.KeptIndices(1, masks, plan.folder.config)
                                           : std::vector<int64_t>{0};
  return WritePaddedMatrix(compact, spec.shape, tensor.KeptIndices(0, masks, plan.folder.config),
                           columns, out);
}

absl::Status WritePaddedTensors(const PaddingPlan& plan, const fs::path& file) {
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer, FileWriter::Create(file));
  // transformers refuses files whose metadata does not name the framework.
  ESPALIER_RETURN_IF_ERROR(writer->Append(SafetensorsHeader(plan.specs, {{"format", "pt"}})));
  PieceWriter out(writer.get());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    ESPALIER_RETURN_IF_ERROR(WritePaddedTensor(plan, i, &out));
  }
  ESPALIER_RETURN_IF_ERROR(out.Flush());
  return writer->Close();
}

absl::Status CopyTokenizer(const fs::path& from, const fs::path& to) {
  for (const std::string& name : TokenizerFiles(from)) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string contents, ReadFile(from / name));
    ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(to / name, contents));
  }
  return absl::OkStatus();
}

}  // namespace

ModelConfig ReformedConfig(const ModelConfig& config, bool biases) {
  ModelConfig reformed = config;
  reformed.attention_bias = config.attention_bias || biases;
  reformed.mlp_bias = config.mlp_bias || biases;
  return reformed;
}

absl::StatusOr<std::string> CompactConfigJson(std::string_view dense_config_json,
                                              const ModelConfig& config, const Subnet& masks,
                                              DType dtype) {
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(masks, config));
  ESPALIER_ASSIGN_OR_RETURN(OrderedJson root, ParseDenseConfig(dense_config_json));
  root["model_type"] = "espalier_compact";
  root["architectures"] = OrderedJson::array({"EspalierCompactForCausalLM"});
  SetKnownKeys(config, dtype, &root);
  root["masks"] = OrderedJson::parse(MasksToJson(masks))["masks"];
  return root.dump(2) + "\n";
}

absl::StatusOr<std::string> PaddedConfigJson(std::string_view dense_config_json,
                                             const ModelConfig& config, DType dtype) {
  ESPALIER_ASSIGN_OR_RETURN(OrderedJson root, ParseDenseConfig(dense_config_json));
  root["model_type"] = "llama";
  root["architectures"] = OrderedJson::array({"LlamaForCausalLM"});
  SetKnownKeys(config, dtype, &root);
  root.erase("masks");
  return root.dump(2) + "\n";
}

absl::Status WritePadded(const fs::path& compact, const fs::path& padded) {
  ESPALIER_ASSIGN_OR_RETURN(const PaddingPlan plan, PlanPadding(compact));
  ESPALIER_ASSIGN_OR_RETURN(const std::string compact_config, ReadFile(compact / "config.json"));
  ESPALIER_ASSIGN_OR_RETURN(const std::string config,
                            PaddedConfigJson(compact_config, plan.folder.config, plan.dtype));
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<StagedDirectory> staged,
                            StagedDirectory::Create(padded));
  ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(staged->staging() / "config.json", config));
  ESPALIER_RETURN_IF_ERROR(CopyTokenizer(compact, staged->staging()));
  ESPALIER_RETURN_IF_ERROR(WritePaddedTensors(plan, staged->staging() / "model.safetensors"));
  return staged->Commit();
}

}  // namespace espalier
