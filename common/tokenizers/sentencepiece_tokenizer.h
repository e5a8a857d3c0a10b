// sentencepiece's BPE (Kudo, Richardson: "SentencePiece", EMNLP 2018), as LLaMA 1 and 2 use it.
#ifndef ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_TOKENIZER_H_
#define ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_TOKENIZER_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/tokenizer.h"

namespace espalier::tokenizers {

struct SentencePieceOptions {
  bool add_bos = true;
  bool add_eos = false;
};

// `bytes` is tokenizer.model, `source` its name in errors. The ids are those of the Python
// package's encode(), which takes "<s>" in a text for four characters. INVALID_ARGUMENT for a
// malformed file; UNIMPLEMENTED for models that are not BPE or that rewrite characters.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(
    std::string_view bytes, std::string_view source, const SentencePieceOptions& options);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_TOKENIZER_H_
