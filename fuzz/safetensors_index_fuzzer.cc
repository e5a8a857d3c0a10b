#include <filesystem>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "common/safetensors_index.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr char kSource[] = "folder/model.safetensors.index.json";

}  // namespace

absl::Status SafetensorsIndex(std::string_view input) {
  const auto shards = ParseSafetensorsIndex(input, kSource);
  if (!shards.ok()) return RequireNames(shards.status(), kSource);
  std::set<std::string> seen;
  for (const auto& [shard, tensors] : *shards) {
    const std::filesystem::path path = (std::filesystem::path("folder") / shard).lexically_normal();
    ESPALIER_RETURN_IF_ERROR(Require(path.parent_path() == "folder" && path.filename() == shard &&
                                         shard.find('\0') == std::string::npos,
                                     "a shard lies beside its index"));
    for (const std::string& tensor : tensors) {
      ESPALIER_RETURN_IF_ERROR(Require(seen.insert(tensor).second, "a tensor is in one shard"));
    }
  }
  return absl::OkStatus();
}

}  // namespace espalier::fuzz
