#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/tokenizers/regex.h"
#include "common/utf8.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {

// A pattern and a text.
absl::Status Regex(std::string_view input) {
  const auto [pattern, given] = TwoParts(input);
  const absl::StatusOr<std::unique_ptr<tokenizers::Regex>> regex =
      tokenizers::Regex::Compile(pattern);
  if (!regex.ok()) return RequireNames(regex.status(), pattern);
  const std::string text = InvalidUtf8Offset(given) ? "" : std::string(given);
  std::vector<std::string_view> pieces;
  tokenizers::MatchBudget budget(text.size());
  const absl::Status split = (*regex)->Split(text, budget, pieces);
  if (!split.ok()) return RequireNames(split, pattern);
  std::string joined;
  for (const std::string_view piece : pieces) {
    ESPALIER_RETURN_IF_ERROR(Require(!piece.empty(), "no piece is empty"));
    ESPALIER_RETURN_IF_ERROR(Require(!InvalidUtf8Offset(piece), "no character is cut"));
    joined += piece;
  }
  return Require(joined == text, "the pieces together are the text");
}

}  // namespace espalier::fuzz
