// Bearer tokens: secrets that callers show, kept in files with one token a line.
#ifndef ESPALIER_COMMON_BEARER_TOKENS_H_
#define ESPALIER_COMMON_BEARER_TOKENS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls_files.h"

namespace espalier {

inline constexpr size_t kShortestToken = 16;

// The tokens of a file's text: blank lines and lines that begin with # do not count, nor do spaces
// around a token. INVALID_ARGUMENT, naming `flag`, `path` and the line but never the token, when
// one is too short or has characters that a header cannot carry, and when there is none.
absl::StatusOr<std::vector<std::string>> ParseTokens(std::string_view flag, const std::string& path,
                                                     std::string_view text);

// The tokens that a server accepts; it keeps only their hashes. Thread-safe.
class TokenSet {
 public:
  explicit TokenSet(const std::vector<std::string>& tokens);
  static absl::StatusOr<TokenSet> Read(std::string_view flag, const std::string& path,
                                       Warnings* warnings);

  // Takes as long for a wrong token as for a right one, whatever they have in common.
  bool Contains(std::string_view token) const;
  bool Intersects(const TokenSet& other) const;

 private:
  bool ContainsHash(const std::string& hash) const;

  std::vector<std::string> hashes_;
};

// The token that a client shows: the first of the file.
absl::StatusOr<std::string> ReadToken(std::string_view flag, const std::string& path,
                                      Warnings* warnings);

}  // namespace espalier

#endif  // ESPALIER_COMMON_BEARER_TOKENS_H_
