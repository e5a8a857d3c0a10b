// What names a model's content: the hash of the whole, made of digests of its tensors, so that
// stages which read only their own tensors can find it together.
#ifndef ESPALIER_COMMON_MODEL_DIGEST_H_
#define ESPALIER_COMMON_MODEL_DIGEST_H_

#include <map>
#include <set>
#include <string>

#include "absl/status/status.h"

namespace espalier {

// Of a model, or of one stage's part of it.
struct ModelDigest {
  // What the tensors alone do not say: numbers of heads, epsilon, rotary frequencies, a compact
  // folder's masks.
  std::string description;
  // Lower-case hexadecimal SHA-256 of each tensor's name, type and shape ("name\nF32\n12,5\n") and
  // its bytes, by name.
  std::map<std::string, std::string> tensors;

  friend bool operator==(const ModelDigest&, const ModelDigest&) = default;
};

// Adds what `part` has to `whole` (empty at first). FAILED_PRECONDITION, naming the tensor, when
// the two do not belong to one model.
absl::Status MergeDigest(const ModelDigest& part, ModelDigest* whole);

// The part of `whole` with these tensors.
ModelDigest DigestOf(const ModelDigest& whole, const std::set<std::string>& tensors);

// Lower-case hexadecimal SHA-256 over the description and a line for each tensor's digest, in the
// order of their names. Of a whole model's digest: the model's hash, which is stored with results.
std::string HashOf(const ModelDigest& digest);

}  // namespace espalier

#endif  // ESPALIER_COMMON_MODEL_DIGEST_H_
