#include "common/path_roots.h"

#include <algorithm>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// Absolute, with the links of all that exists resolved and ".." gone. None when that cannot be
// told: a link that leads nowhere (what is created there later would be elsewhere), a loop, a
// folder that may not be entered. std::filesystem::weakly_canonical lets the first of these pass.
std::optional<fs::path> Resolve(const fs::path& path) {
  std::error_code error;
  fs::path known = fs::absolute(path, error);
  if (error) return std::nullopt;
  std::vector<fs::path> unknown;  // in reverse
  while (true) {
    const fs::file_status status = fs::symlink_status(known, error);
    if (fs::exists(status)) break;
    if (status.type() != fs::file_type::not_found || known == known.parent_path()) {
      return std::nullopt;
    }
    unknown.push_back(known.filename());
    known = known.parent_path();
  }
  fs::path resolved = fs::canonical(known, error);
  if (error) return std::nullopt;
  for (auto part = unknown.rbegin(); part != unknown.rend(); ++part) {
    // The system would refuse to go up from what does not exist.
    if (*part == "..") return std::nullopt;
    if (!part->empty() && *part != ".") resolved /= *part;
  }
  return resolved;
}

bool IsAtOrBelow(const fs::path& path, const fs::path& root) {
  const auto [in_root, in_path] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return in_root == root.end();
}

}  // namespace

absl::StatusOr<PathRoots> PathRoots::Create(std::string_view flag,
                                            const std::vector<std::string>& roots) {
  PathRoots result;
  result.flag_ = flag;
  for (const std::string& root : roots) {
    std::error_code error;
    const fs::path resolved = fs::canonical(root, error);
    if (error || !fs::is_directory(resolved, error)) {
      return absl::InvalidArgumentError(
          absl::StrCat(result.flag_, " ", root, ": ",
                       error ? error.message() : std::string("this is not a folder"),
                       "; name a folder that exists"));
    }
    result.roots_.push_back(resolved);
  }
  return result;
}

absl::StatusOr<fs::path> PathRoots::Check(const fs::path& path) const {
  if (!restricts()) return path;
  const std::optional<fs::path> resolved = Resolve(path);
  if (resolved.has_value()) {
    for (const fs::path& root : roots_) {
      if (IsAtOrBelow(*resolved, root)) return *resolved;
    }
  }
  return absl::PermissionDeniedError(absl::StrCat(
      path.string(), " does not lie below ",
      absl::StrJoin(roots_, " or ",
                    [](std::string* out, const fs::path& root) { *out += root.string(); }),
      " once its links are resolved; only what does may be used here (", flag_, ")"));
}

absl::Status PathRoots::CheckFolder(const fs::path& path) const {
  if (!restricts()) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(Check(path).status());
  std::error_code error;
  // What cannot be listed gives its own error when it is read.
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_symlink(ignored)) ESPALIER_RETURN_IF_ERROR(Check(it->path()).status());
  }
  return absl::OkStatus();
}

}  // namespace espalier
