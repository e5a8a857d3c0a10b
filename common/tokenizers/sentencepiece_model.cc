#include "common/tokenizers/sentencepiece_model.h"

#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace espalier::tokenizers {
namespace {

// One field of a message in protocol buffers' wire format.
struct Field {
  uint64_t number = 0;
  int wire_type = 0;
  uint64_t value = 0;      // of a varint or a fixed number
  std::string_view bytes;  // of a length-delimited field
};
constexpr int kVarint = 0;
constexpr int kFixed64 = 1;
constexpr int kBytes = 2;
constexpr int kFixed32 = 5;

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  bool AtEnd() const { return rest_.empty(); }

  // None when the bytes are not a field.
  std::optional<Field> Next() {
    const std::optional<uint64_t> tag = Varint();
    if (!tag || *tag >> 3 == 0) return std::nullopt;
    Field field;
    field.number = *tag >> 3;
    field.wire_type = static_cast<int>(*tag & 7);
    std::optional<uint64_t> value;
    switch (field.wire_type) {
      case kVarint:
        value = Varint();
        break;
      case kFixed64:
        value = Fixed(8);
        break;
      case kFixed32:
        value = Fixed(4);
        break;
      case kBytes:
        value = Varint();
        if (!value || *value > rest_.size()) return std::nullopt;
        field.bytes = rest_.substr(0, *value);
        rest_.remove_prefix(*value);
        break;
      default:
        return std::nullopt;
    }
    if (!value) return std::nullopt;
    field.value = *value;
    return field;
  }

 private:
  std::optional<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<uint64_t> Fixed(size_t size) {
    if (rest_.size() < size) return std::nullopt;
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(size);
    return value;
  }

  std::string_view rest_;
};

// Calls `handle` with every field; false when the bytes are no message or `handle` says so. A known
// field with the wrong wire type is refused by `handle`.
template <typename Handler>
bool ForEachField(std::string_view bytes, Handler handle) {
  WireReader reader(bytes);
  while (!reader.AtEnd()) {
    const std::optional<Field> field = reader.Next();
    if (!field || !handle(*field)) return false;
  }
  return true;
}

bool Read(const Field& field, std::string& to) {
  to = std::string(field.bytes);
  return field.wire_type == kBytes && !InvalidUtf8Offset(to);
}
bool Read(const Field& field, bool& to) {
  to = field.value != 0;
  return field.wire_type == kVarint;
}
bool Read(const Field& field, uint64_t& to) {
  to = field.value;
  return field.wire_type == kVarint;
}
bool Read(const Field& field, float& to) {
  to = std::bit_cast<float>(static_cast<uint32_t>(field.value));
  return field.wire_type == kFixed32 && !std::isnan(to);
}
bool Read(const Field& field, SentencePiece::Type& to) {
  to = static_cast<SentencePiece::Type>(field.value);
  return field.wire_type == kVarint && field.value >= 1 && field.value <= 6;
}

bool ReadPiece(const Field& message, SentencePiece& piece) {
  return message.wire_type == kBytes && ForEachField(message.bytes, [&](const Field& field) {
           switch (field.number) {
             case 1:
               return Read(field, piece.text);
             case 2:
               return Read(field, piece.score);
             case 3:
               return Read(field, piece.type);
             default:
               return true;
           }
         });
}

bool ReadTrainerSpec(const Field& message, SentencePieceModel& model) {
  return message.wire_type == kBytes && ForEachField(message.bytes, [&](const Field& field) {
           switch (field.number) {
             case 3:
               return Read(field, model.model_type);
             case 24:
               return Read(field, model.whitespace_as_suffix);
             case 35:
               return Read(field, model.byte_fallback);
             case 46:
               return Read(field, model.bos_piece);
             case 47:
               return Read(field, model.eos_piece);
             default:
               return true;
           }
         });
}

bool ReadNormalizerSpec(const Field& message, SentencePieceModel& model) {
  return message.wire_type == kBytes && ForEachField(message.bytes, [&](const Field& field) {
           switch (field.number) {
             case 1:
               return Read(field, model.normalizer_name);
             case 2:
               model.has_character_map = !field.bytes.empty();
               return field.wire_type == kBytes;
             case 3:
               return Read(field, model.add_dummy_prefix);
             case 4:
               return Read(field, model.remove_extra_whitespaces);
             case 5:
               return Read(field, model.escape_whitespaces);
             default:
               return true;
           }
         });
}

}  // namespace

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(std::string_view bytes,
                                                           std::string_view source) {
  SentencePieceModel model;
  const bool ok = ForEachField(bytes, [&](const Field& field) {
    switch (field.number) {
      case 1:
        return ReadPiece(field, model.pieces.emplace_back());
      case 2:
        return ReadTrainerSpec(field, model);
      case 3:
        return ReadNormalizerSpec(field, model);
      default:
        return true;
    }
  });
  if (!ok || model.pieces.empty() ||
      model.pieces.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(source),
        ": not a sentencepiece model (truncated, or of another kind?); get the file again"));
  }
  return model;
}

}  // namespace espalier::tokenizers
