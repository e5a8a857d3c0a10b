#include "common/model_digest.h"

#include "absl/strings/str_cat.h"
#include "common/sha256.h"

namespace espalier {

absl::Status MergeDigest(const ModelDigest& part, ModelDigest* whole) {
  if (whole->description.empty()) whole->description = part.description;
  if (part.description != whole->description) {
    return absl::FailedPreconditionError(
        absl::StrCat("its config.json describes another model: ", part.description, " instead of ",
                     whole->description));
  }
  for (const auto& [name, hash] : part.tensors) {
    const auto [it, added] = whole->tensors.emplace(name, hash);
    if (added || it->second == hash) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("its tensor ", name, " has another content than another stage's"));
  }
  return absl::OkStatus();
}

std::string HashOf(const ModelDigest& digest) {
  Sha256 hash;
  hash.Update(absl::StrCat(digest.description, "\n"));
  for (const auto& [name, tensor] : digest.tensors) hash.Update(absl::StrCat(tensor, "\n"));
  return hash.HexDigest();
}

ModelDigest DigestOf(const ModelDigest& whole, const std::set<std::string>& tensors) {
  ModelDigest part{.description = whole.description, .tensors = {}};
  for (const std::string& name : tensors) {
    const auto it = whole.tensors.find(name);
    if (it != whole.tensors.end()) part.tensors.insert(*it);
  }
  return part;
}

}  // namespace espalier
