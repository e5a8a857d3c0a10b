// From text to token ids, as the model's own tokenizer does it.
#ifndef ESPALIER_COMMON_TOKENIZER_H_
#define ESPALIER_COMMON_TOKENIZER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace espalier {

// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // Ids of valid UTF-8 `text`, with BOS in front when the model's tokenizer adds one.
  // INVALID_ARGUMENT, with the byte offset, for invalid UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const = 0;
  virtual int64_t vocab_size() const = 0;
};

// Loads from a model folder what the folder has: `tokenizer.json` (byte-level BPE as of GPT-2,
// SmolLM and Llama 3, with their pre-tokenizers; also a tokenizer.json that is a converted
// sentencepiece BPE model if tokenizer.model lies beside it: then that is used) or
// `tokenizer.model` (sentencepiece; BOS unless tokenizer_config.json says add_bos_token false).
// The ids of a tokenizer.json are those of transformers 5's AutoTokenizer; this means that with
// "tokenizer_class": "GPT2Tokenizer" its pre_tokenizer is not used, but GPT-2's.
// NOT_FOUND names the files that were looked for; UNIMPLEMENTED names the part of tokenizer.json
// that is not understood.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::filesystem::path& directory);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TOKENIZER_H_
