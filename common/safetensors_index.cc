#include "common/safetensors_index.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/json.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::set<std::string>>> ParseSafetensorsIndex(
    std::string_view json, const std::string& source) {
  const JsonAndDuplicate parsed = ParseJsonNotingDuplicates(json);
  const Json& root = parsed.value;
  const auto map = root.is_object() ? root.find("weight_map") : root.end();
  if (!root.is_object() || map == root.end() || !map->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": is not a JSON object with an object \"weight_map\""));
  }
  if (parsed.duplicate) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": has \"", *parsed.duplicate, "\" twice"));
  }
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : map->items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    if (!IsPlainFileName(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ": the shard of tensor \"", tensor, "\" is ",
                       shard.dump(-1, ' ', true, Json::error_handler_t::replace),
                       ", must be the name of a file in the same folder"));
    }
    shards[name].insert(tensor);
  }
  return shards;
}

}  // namespace espalier
