#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/tokenizers/bpe_tokenizer.h"
#include "common/tokenizers/json_view.h"
#include "fuzz/check.h"
#include "fuzz/encoding.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr std::string_view kSource = "folder/tokenizer.json";

absl::Status Check(const nlohmann::json& document, std::string_view text,
                   const tokenizers::BpeOptions& options) {
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      tokenizers::MakeBpeTokenizer(document, kSource, options);
  if (!tokenizer.ok()) return RequireNames(tokenizer.status(), kSource);
  return CheckEncodings(**tokenizer, text);
}

}  // namespace

// A tokenizer.json and a text.
absl::Status BpeTokenizer(std::string_view input) {
  const auto [json, text] = TwoParts(input);
  const absl::StatusOr<nlohmann::json> document = tokenizers::ParseJsonObject(json, kSource);
  if (!document.ok()) return RequireNames(document.status(), kSource);
  (void)tokenizers::IsConvertedSentencePiece(*document);
  ESPALIER_RETURN_IF_ERROR(Check(*document, text, {}));
  return Check(*document, text, {.gpt2_add_prefix_space = true});
}

}  // namespace espalier::fuzz
