// Texts as sequences of tokens for calibration, search and evaluation (docs/method.md,
// "Measuring").
#ifndef ESPALIER_COMMON_TEXT_H_
#define ESPALIER_COMMON_TEXT_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text_format.h"
#include "common/tokenizer.h"

namespace espalier {

// The WikiText protocol: rows = lines (the file's final newline ends the last row); a row is the
// line plus a newline if it has a non-space character, else empty; rows joined by two newlines.
// Space is what Python's str.isspace calls so. Requires valid UTF-8.
std::string JoinWikiTextRows(std::string_view file_contents);

// Sequences of equal length, row-major. `hash` is the SHA-256 over the length and the ids, and
// names the data in messages, caches and provenance.
struct TokenSequences {
  int64_t sequence_length = 0;  // T
  std::vector<int32_t> tokens;  // count() * T
  std::string hash;

  int64_t count() const {
    return sequence_length == 0 ? 0 : static_cast<int64_t>(tokens.size()) / sequence_length;
  }
};
TokenSequences MakeTokenSequences(int64_t sequence_length, std::vector<int32_t> tokens);

// The token ids of a whole file. Errors name the file.
absl::StatusOr<std::vector<int32_t>> TokenizeFile(const Tokenizer& tokenizer,
                                                  const std::filesystem::path& file,
                                                  TextFormat format);

// The first `count` consecutive sequences (count = 0: all whole ones). INVALID_ARGUMENT, saying how
// many tokens there are and how many are needed, when the text is too short. `source` names it.
absl::StatusOr<TokenSequences> FirstSequences(const std::vector<int32_t>& ids,
                                              int64_t sequence_length, int64_t count,
                                              std::string_view source);

// `count` of the text's consecutive sequences, drawn without replacement by `seed` and kept in text
// order; `purpose` separates draws. Errors as FirstSequences.
absl::StatusOr<TokenSequences> SampleSequences(const std::vector<int32_t>& ids,
                                               int64_t sequence_length, int64_t count,
                                               uint64_t seed, uint32_t purpose,
                                               std::string_view source);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TEXT_H_
