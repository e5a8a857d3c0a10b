#include "common/bearer_tokens.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

constexpr char kHowTo[] = "`openssl rand -hex 32` makes a good one";

absl::Status CheckToken(absl::string_view token) {
  if (token.size() < kShortestToken) {
    return absl::InvalidArgumentError(absl::StrCat("a token of ", token.size(),
                                                   " characters; it needs at least ",
                                                   kShortestToken, " (", kHowTo, ")"));
  }
  if (!std::all_of(token.begin(), token.end(), absl::ascii_isgraph)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a token may have printable ASCII characters only, without spaces (", kHowTo, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseTokens(std::string_view flag, const std::string& path,
                                                     std::string_view text) {
  const std::string where = absl::StrCat(std::string(flag), " ", path);
  std::vector<std::string> tokens;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    if (const absl::Status status = CheckToken(line); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat(where, ", line ", number, ": ", status.message()));
    }
    tokens.emplace_back(line);
  }
  if (tokens.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": no token in it; write one a line (", kHowTo, ")"));
  }
  return tokens;
}

TokenSet::TokenSet(const std::vector<std::string>& tokens) {
  for (const std::string& token : tokens) hashes_.push_back(Sha256Hex(token));
}

absl::StatusOr<TokenSet> TokenSet::Read(std::string_view flag, const std::string& path,
                                        Warnings* warnings) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string text, ReadFlagFile(flag, path, true, warnings));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<std::string> tokens, ParseTokens(flag, path, text));
  return TokenSet(tokens);
}

bool TokenSet::ContainsHash(const std::string& hash) const {
  bool found = false;
  // All of them, in any case. The hashes have one length.
  for (const std::string& known : hashes_) {
    found |= CRYPTO_memcmp(known.data(), hash.data(), known.size()) == 0;
  }
  return found;
}

bool TokenSet::Contains(std::string_view token) const { return ContainsHash(Sha256Hex(token)); }

bool TokenSet::Intersects(const TokenSet& other) const {
  return std::any_of(hashes_.begin(), hashes_.end(),
                     [&](const std::string& hash) { return other.ContainsHash(hash); });
}

absl::StatusOr<std::string> ReadToken(std::string_view flag, const std::string& path,
                                      Warnings* warnings) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string text, ReadFlagFile(flag, path, true, warnings));
  ESPALIER_ASSIGN_OR_RETURN(std::vector<std::string> tokens, ParseTokens(flag, path, text));
  return std::move(tokens.front());
}

}  // namespace espalier
