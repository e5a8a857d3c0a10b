// Folders that paths named by others must lie below.
#ifndef ESPALIER_COMMON_PATH_ROOTS_H_
#define ESPALIER_COMMON_PATH_ROOTS_H_

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier {

// Thread-safe. Paths are compared after all symbolic links and ".." are resolved. Whoever can
// change links below a root while a path is checked and used is not kept out: roots are against
// those who name paths, not against those who may write there.
class PathRoots {
 public:
  PathRoots() = default;  // everything is allowed
  // INVALID_ARGUMENT, naming `flag`, unless each root is a folder. None: everything is allowed.
  static absl::StatusOr<PathRoots> Create(std::string_view flag,
                                          const std::vector<std::string>& roots);

  bool restricts() const { return !roots_.empty(); }

  // The path to use: resolved as far as it exists, or as it was if everything is allowed.
  // PERMISSION_DENIED, naming the path and the roots, when it is not a root or below one; whether
  // something exists at a refused path is not told.
  absl::StatusOr<std::filesystem::path> Check(const std::filesystem::path& path) const;
  // The same for a folder that exists perhaps, and for everything in it that is a link.
  absl::Status CheckFolder(const std::filesystem::path& path) const;

 private:
  std::string flag_;
  std::vector<std::filesystem::path> roots_;  // resolved
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_PATH_ROOTS_H_
