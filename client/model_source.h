// Which folder a --model names, and which subnet of it.
#ifndef ESPALIER_CLIENT_MODEL_SOURCE_H_
#define ESPALIER_CLIENT_MODEL_SOURCE_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "common/model_folder.h"
#include "common/subnet.h"

namespace espalier {

// The folder that holds the model: `path` itself, or compact/ below it when `path` is a result
// folder. NOT_FOUND when it is neither.
absl::StatusOr<std::filesystem::path> LocateModel(const std::filesystem::path& path);

// The subnet to evaluate: of `masks_file` if that is given, otherwise the folder's own. Masks for a
// compact model must be its own: INVALID_ARGUMENT otherwise.
absl::StatusOr<Subnet> ChooseSubnet(const ModelFolder& model, const std::string& masks_file);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_MODEL_SOURCE_H_
