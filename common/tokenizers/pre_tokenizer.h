// The "pre_tokenizer" of a byte-level tokenizer.json: cuts a text into the pieces within which
// merges may happen. Supported: ByteLevel, Digits, Split by a Regex (Isolated), and Sequences of
// them that end in ByteLevel. The step from bytes to ByteLevel's alphabet is left to the model.
#ifndef ESPALIER_COMMON_TOKENIZERS_PRE_TOKENIZER_H_
#define ESPALIER_COMMON_TOKENIZERS_PRE_TOKENIZER_H_

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tokenizers/json_view.h"
#include "common/tokenizers/regex.h"

namespace espalier::tokenizers {

// Views of the text given, or of copies with a space in front, which `owned` holds.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

// Thread-safe.
class PreTokenizer {
 public:
  // `view` is the value of "pre_tokenizer". UNIMPLEMENTED names the part that is not supported.
  static absl::StatusOr<PreTokenizer> Parse(const JsonView& view);
  // ByteLevel with GPT-2's pattern.
  static absl::StatusOr<PreTokenizer> ByteLevel(bool add_prefix_space);

  // `text` is valid UTF-8 and outlives `pieces`. Errors as Regex::Split.
  absl::Status Split(std::string_view text, MatchBudget& budget, Pieces& pieces) const;

 private:
  struct Step {
    bool add_prefix_space = false;
    std::shared_ptr<const Regex> regex;  // null: pieces stay whole
    bool byte_level = false;
  };

  absl::Status ParseInto(const JsonView& view);
  absl::Status AddStep(const JsonView& view, std::string_view type);
  absl::Status AddByteLevel(bool add_prefix_space, bool use_regex);
  absl::Status AddRegex(std::string_view pattern);
  absl::Status AddSplit(const JsonView& view);

  std::vector<Step> steps_;
};

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_PRE_TOKENIZER_H_
