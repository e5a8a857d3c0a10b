// Reads tokenizer.model: the protocol buffer ModelProto of sentencepiece
// (github.com/google/sentencepiece, src/sentencepiece_model.proto). Field numbers are that file's.
#ifndef ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_MODEL_H_
#define ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace espalier::tokenizers {

struct SentencePiece {
  enum class Type : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  std::string text;
  float score = 0;
  Type type = Type::kNormal;
};

// What decides the ids of a text; the defaults are the proto's.
struct SentencePieceModel {
  std::vector<SentencePiece> pieces;  // by id
  uint64_t model_type = 1;            // 1 unigram, 2 BPE, 3 word, 4 char
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  std::string normalizer_name;
  bool has_character_map = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// INVALID_ARGUMENT, naming `source`, unless `bytes` is a whole ModelProto with pieces.
absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view source);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_SENTENCEPIECE_MODEL_H_
