#include "client/model_source.h"

#include <filesystem>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "common/subnet.h"

namespace espalier {

absl::StatusOr<std::filesystem::path> LocateModel(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat(
        path.string(), " is no folder; --model takes a model's folder or a result folder"));
  }
  if (std::filesystem::exists(path / "config.json", error)) return path;
  const std::filesystem::path compact = path / "compact";
  if (std::filesystem::exists(path / "subnet.json", error) &&
      std::filesystem::exists(compact / "config.json", error)) {
    return compact;
  }
  if (std::filesystem::exists(path / "sizes.csv", error)) {
    return absl::NotFoundError(absl::StrCat(
        path.string(), " holds a result for each of several sizes; name one of its folders"));
  }
  return absl::NotFoundError(
      absl::StrCat(path.string(),
                   " has neither config.json (a model) nor subnet.json with compact/ (a result)"));
}

absl::StatusOr<Subnet> ChooseSubnet(const ModelFolder& model, const std::string& masks_file) {
  const Subnet own = model.masks ? *model.masks : Subnet::Dense(model.config);
  if (masks_file.empty()) return own;
  ESPALIER_ASSIGN_OR_RETURN(Subnet chosen, ReadSubnet(masks_file, model.config));
  if (model.masks && !(chosen == own)) {
    return absl::InvalidArgumentError(
        absl::StrCat(masks_file, " is not the subnet that the compact model ", model.path.string(),
                     " holds; give the dense model's folder, or leave --masks out"));
  }
  return chosen;
}

}  // namespace espalier
