// A byte-level BPE tokenizer as tokenizer.json describes it (GPT-2, SmolLM, Llama 3, …).
#ifndef ESPALIER_COMMON_TOKENIZERS_BPE_TOKENIZER_H_
#define ESPALIER_COMMON_TOKENIZERS_BPE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/tokenizer.h"
#include "common/tokenizers/json_view.h"

namespace espalier::tokenizers {

struct BpeOptions {
  // Set: do as the class GPT2Tokenizer of transformers 5, which ignores the file's normalizer and
  // pre_tokenizer in favour of ByteLevel with this add_prefix_space.
  std::optional<bool> gpt2_add_prefix_space;
};

// `document` is tokenizer.json, `source` its name in errors. INVALID_ARGUMENT for a malformed file,
// UNIMPLEMENTED, naming the part, for what is not understood. The document is not needed
// afterwards.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(const nlohmann::json& document,
                                                            std::string_view source,
                                                            const BpeOptions& options = {});

// Whether the file is a sentencepiece model that was converted: its ids are sentencepiece's.
bool IsConvertedSentencePiece(const nlohmann::json& document);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_BPE_TOKENIZER_H_
