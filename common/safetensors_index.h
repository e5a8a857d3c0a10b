// The index of a model in several safetensors files (model.safetensors.index.json): which file has
// which tensor; used by safetensors.cc only.
#ifndef ESPALIER_COMMON_SAFETENSORS_INDEX_H_
#define ESPALIER_COMMON_SAFETENSORS_INDEX_H_

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace espalier {

// Tensor names by shard. A shard is the name of a file beside the index: INVALID_ARGUMENT, naming
// `source` and the tensor, for any other path.
absl::StatusOr<std::map<std::string, std::set<std::string>>> ParseSafetensorsIndex(
    std::string_view json, const std::string& source);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SAFETENSORS_INDEX_H_
