#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/tokenizers/sentencepiece_tokenizer.h"
#include "fuzz/check.h"
#include "fuzz/encoding.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr std::string_view kSource = "folder/tokenizer.model";

}  // namespace

// A tokenizer.model and a text.
absl::Status SentencePiece(std::string_view input) {
  const auto [bytes, text] = TwoParts(input);
  for (const bool around : {false, true}) {
    const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
        tokenizers::MakeSentencePieceTokenizer(bytes, kSource,
                                               {.add_bos = around, .add_eos = around});
    if (!tokenizer.ok()) {
      ESPALIER_RETURN_IF_ERROR(RequireNames(tokenizer.status(), kSource));
      continue;
    }
    ESPALIER_RETURN_IF_ERROR(CheckEncodings(**tokenizer, text));
  }
  return absl::OkStatus();
}

}  // namespace espalier::fuzz
