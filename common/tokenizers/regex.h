// The regular expressions of tokenizer.json, by PCRE2.
//
// Tokenizers are written for Oniguruma's Ruby syntax. The two agree on what the patterns of GPT-2,
// SmolLM, Llama 3 and their kin use, once \s is spelled as the Unicode property; whatever could
// mean something else in PCRE2 is refused.
#ifndef ESPALIER_COMMON_TOKENIZERS_REGEX_H_
#define ESPALIER_COMMON_TOKENIZERS_REGEX_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier::tokenizers {

// What all matches in one text may cost together: PCRE2 limits each match, but a pattern can stay
// below that at every byte of a text and take hours for all of it. Counts items of the pattern that
// are tried and bytes that they pass or give back, so that it runs out in the same place
// everywhere.
class MatchBudget {
 public:
  // GPT-2's pattern takes 3.4 steps a byte of English.
  explicit MatchBudget(size_t text_bytes)
      : left_(10'000'000 + 1000 * static_cast<int64_t>(text_bytes)) {}

  // False when it is used up.
  bool Spend(int64_t steps) {
    left_ -= steps;
    return left_ >= 0;
  }

 private:
  int64_t left_;
};

// Thread-safe.
class Regex {
 public:
  // UNIMPLEMENTED, quoting the construct, for a pattern outside the common ground.
  static absl::StatusOr<std::unique_ptr<Regex>> Compile(std::string_view pattern);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Appends matches and the text between them, in order; together they are all of `text`, which is
  // valid UTF-8. RESOURCE_EXHAUSTED when a match takes more steps than the budget or PCRE2's own
  // limits allow.
  absl::Status Split(std::string_view text, MatchBudget& budget,
                     std::vector<std::string_view>& pieces) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

// PCRE2's spelling of a pattern; exposed for tests.
absl::StatusOr<std::string> TranslatePattern(std::string_view pattern);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_REGEX_H_
