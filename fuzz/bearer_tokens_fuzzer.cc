#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "common/bearer_tokens.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr char kFlag[] = "--token-file";
constexpr char kPath[] = "folder/tokens";

// Logs and terminals are no place for secrets: a refusal says the same whatever the characters are.
absl::Status CheckKeepsSecrets(const absl::Status& refusal, std::string_view input) {
  std::string masked(input);
  for (char& c : masked) {
    if (absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '#') c = 'x';
  }
  return Require(ParseTokens(kFlag, kPath, masked).status() == refusal,
                 "a refusal does not show the token");
}

}  // namespace

absl::Status BearerTokens(std::string_view input) {
  const absl::StatusOr<std::vector<std::string>> tokens = ParseTokens(kFlag, kPath, input);
  if (!tokens.ok()) {
    ESPALIER_RETURN_IF_ERROR(RequireNames(tokens.status(), kPath));
    return CheckKeepsSecrets(tokens.status(), input);
  }
  ESPALIER_RETURN_IF_ERROR(Require(!tokens->empty(), "an accepted file has a token"));
  const TokenSet set(*tokens);
  for (const std::string& token : *tokens) {
    const bool fit = token.size() >= kShortestToken &&
                     token.find_first_of(std::string_view("\0\r\n\t ", 5)) == std::string::npos;
    ESPALIER_RETURN_IF_ERROR(Require(fit, "a token fits a header"));
    ESPALIER_RETURN_IF_ERROR(Require(set.Contains(token), "a token that was read is accepted"));
    ESPALIER_RETURN_IF_ERROR(
        Require(!set.Contains(token.substr(1) + "\n"), "no other is accepted"));
  }
  return absl::OkStatus();
}

}  // namespace espalier::fuzz
