// The "added_tokens" of tokenizer.json: whole tokens that are looked for in a text before anything
// else happens to it, and become their id wherever they stand.
#ifndef ESPALIER_COMMON_TOKENIZERS_ADDED_TOKENS_H_
#define ESPALIER_COMMON_TOKENIZERS_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tokenizers/json_view.h"

namespace espalier::tokenizers {

// A stretch of text, or the id of the added token that it was.
struct Segment {
  std::string_view text;
  std::optional<int32_t> id;
};

// Thread-safe.
class AddedTokens {
 public:
  // `document` is all of tokenizer.json. UNIMPLEMENTED for tokens that swallow white space
  // (lstrip, rstrip) or match only whole words (single_word).
  static absl::StatusOr<AddedTokens> Parse(const JsonView& document);

  // Cuts at the leftmost, then longest, of the tokens with the given "normalized" flag: those
  // without it are looked for in the text as it is, the others after normalisation.
  std::vector<Segment> Split(std::string_view text, bool normalized) const;

  int32_t max_id() const { return max_id_; }  // −1: there are none

 private:
  struct Token {
    std::string content;
    int32_t id;
  };
  // By their first byte, longest first.
  using Index = std::array<std::vector<Token>, 256>;

  std::array<Index, 2> tokens_;  // [normalized]
  int32_t max_id_ = -1;
};

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_ADDED_TOKENS_H_
