#include "common/safetensors.h"

#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/safetensors_header.h"
#include "common/safetensors_index.h"
#include "common/status_macros.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

std::optional<DType> ParseDType(std::string_view name) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    if (DTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

int64_t ItemSize(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kFloat16:
      return "F16";
    case DType::kBFloat16:
      return "BF16";
  }
  return "";
}

int64_t TensorSpec::ByteSize() const {
  int64_t bytes = ItemSize(dtype);
  for (int64_t size : shape) bytes *= size;
  return bytes;
}

absl::StatusOr<std::unique_ptr<SafetensorsReader>> SafetensorsReader::OpenModel(
    const fs::path& directory) {
  auto reader = std::unique_ptr<SafetensorsReader>(new SafetensorsReader(directory));
  std::error_code ignored;
  if (fs::exists(directory / kIndexFile, ignored)) {
    ESPALIER_RETURN_IF_ERROR(reader->AddShards(directory / kIndexFile));
  } else if (fs::exists(directory / kSingleFile, ignored)) {
    ESPALIER_RETURN_IF_ERROR(reader->AddFile(directory / kSingleFile, nullptr));
  } else {
    return absl::NotFoundError(absl::StrCat(
        directory.string(), " has no weights: neither ", kSingleFile, " nor ", kIndexFile,
        " is there (other formats: convert the model with transformers' save_pretrained)"));
  }
  return reader;
}

absl::StatusOr<std::unique_ptr<SafetensorsReader>> SafetensorsReader::OpenFile(
    const fs::path& file) {
  auto reader = std::unique_ptr<SafetensorsReader>(new SafetensorsReader(file));
  ESPALIER_RETURN_IF_ERROR(reader->AddFile(file, nullptr));
  return reader;
}

absl::Status SafetensorsReader::AddShards(const fs::path& index) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string json, ReadFile(index));
  ESPALIER_ASSIGN_OR_RETURN(const auto shards, ParseSafetensorsIndex(json, index.string()));
  for (const auto& [shard, tensors] : shards) {
    ESPALIER_RETURN_IF_ERROR(AddFile(index.parent_path() / shard, &tensors));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::AddFile(const fs::path& file, const std::set<std::string>* wanted) {
  ESPALIER_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, MappedFile::Open(file));
  ESPALIER_ASSIGN_OR_RETURN(SafetensorsContents contents,
                            ParseSafetensors(mapped->bytes(), file.string()));
  files_.push_back(std::move(mapped));
  for (SafetensorsEntry& entry : contents.entries) {
    if (wanted != nullptr && wanted->count(entry.name) == 0) continue;
    const std::optional<DType> dtype = ParseDType(entry.dtype);
    tensors_[entry.name] = {.view = {.dtype = dtype.value_or(DType::kFloat32),
                                     .shape = std::move(entry.shape),
                                     .bytes = entry.bytes},
                            .foreign_dtype = dtype ? "" : entry.dtype};
  }
  metadata_.merge(contents.metadata);
  if (wanted == nullptr) return absl::OkStatus();
  for (const std::string& name : *wanted) {
    if (!Contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat(file.string(), ": has no tensor \"", name,
                                                     "\", although ", kIndexFile, " says so"));
    }
  }
  return absl::OkStatus();
}

bool SafetensorsReader::Contains(std::string_view name) const {
  return tensors_.find(name) != tensors_.end();
}

absl::StatusOr<TensorView> SafetensorsReader::Get(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(
        absl::StrCat(source_.string(), ": has no tensor \"", std::string(name), "\""));
  }
  if (!found->second.foreign_dtype.empty()) {
    return absl::UnimplementedError(absl::StrCat(source_.string(), ": tensor \"", found->first,
                                                 "\" is of type ", found->second.foreign_dtype,
                                                 ", only F32, F16 and BF16 are supported"));
  }
  return found->second.view;
}

absl::StatusOr<TensorView> SafetensorsReader::Get(std::string_view name,
                                                  const std::vector<int64_t>& shape) const {
  ESPALIER_ASSIGN_OR_RETURN(TensorView view, Get(name));
  if (view.shape == shape) return view;
  return absl::InvalidArgumentError(absl::StrCat(source_.string(), ": tensor \"", std::string(name),
                                                 "\" has shape ", ShapeText(view.shape),
                                                 ", config.json asks for ", ShapeText(shape)));
}

std::vector<std::string> SafetensorsReader::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

std::string SafetensorsHeader(const std::vector<TensorSpec>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    const int64_t end = offset + tensor.ByteSize();
    header[tensor.name] = {{"dtype", std::string(DTypeName(tensor.dtype))},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  // Padded with spaces, so that the data begins at a multiple of 8.
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return length + text;
}

}  // namespace espalier
