#include "common/model_folder.h"

#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/json.h"
#include "common/model_tensors.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool IsCompact(const Json& root) {
  if (!root.is_object()) return false;
  const auto type = root.find("model_type");
  return type != root.end() && *type == "espalier_compact";
}

// Reads the config, and the masks if there are any. Compact folders describe their dense model in
// the ordinary keys.
absl::Status ReadConfig(const fs::path& file, ModelFolder* folder) {
  const std::string source = file.string();
  ESPALIER_ASSIGN_OR_RETURN(const std::string json, ReadFile(file));
  Json root = ParseJson(json);
  if (!IsCompact(root)) {
    ESPALIER_ASSIGN_OR_RETURN(folder->config, ParseModelConfig(json, source));
    return absl::OkStatus();
  }
  root["model_type"] = "llama";
  root.erase("architectures");
  ESPALIER_ASSIGN_OR_RETURN(folder->config, ParseModelConfig(root.dump(), source));
  ESPALIER_ASSIGN_OR_RETURN(folder->masks, SubnetFromJson(json, folder->config, source));
  return absl::OkStatus();
}

// The tensors that the folder must hold. A dense model's without masks: until its tensors have been
// seen, its config.json may ask for more than fits into memory.
std::vector<TensorSpec> NeededTensors(const ModelFolder& folder) {
  if (folder.masks) return ExpectedTensors(folder.config, *folder.masks, DType::kFloat32);
  std::vector<TensorSpec> specs;
  for (const ModelTensor& tensor : ModelTensors(folder.config)) {
    specs.push_back({.name = tensor.name, .shape = tensor.DenseShape()});
  }
  return specs;
}

absl::Status CheckTensors(const ModelFolder& folder) {
  for (const TensorSpec& spec : NeededTensors(folder)) {
    const absl::Status status = folder.tensors->Get(spec.name, spec.shape).status();
    if (absl::IsNotFound(status) && spec.name == "lm_head.weight") {
      return absl::NotFoundError(
          absl::StrCat(std::string(status.message()),
                       ", which config.json asks for: its \"tie_word_embeddings\" is not true"));
    }
    ESPALIER_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelFolder> OpenModelFolder(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat(
        path.string(), " is not a folder: give one with config.json and model.safetensors"));
  }
  ModelFolder folder;
  folder.path = path;
  ESPALIER_RETURN_IF_ERROR(ReadConfig(path / "config.json", &folder));
  ESPALIER_ASSIGN_OR_RETURN(folder.tensors, SafetensorsReader::OpenModel(path));
  ESPALIER_RETURN_IF_ERROR(CheckTensors(folder));
  return folder;
}

std::vector<std::string> TokenizerFiles(const fs::path& folder) {
  std::vector<std::string> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja"}) {
    std::error_code ignored;
    if (fs::is_regular_file(folder / name, ignored)) files.push_back(name);
  }
  return files;
}

}  // namespace espalier
