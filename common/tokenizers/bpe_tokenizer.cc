#include "common/tokenizers/bpe_tokenizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/tokenizers/added_tokens.h"
#include "common/tokenizers/bpe_model.h"
#include "common/tokenizers/pre_tokenizer.h"
#include "common/utf8.h"

namespace espalier::tokenizers {
namespace {

// What the post-processor puts around the ids of a text.
struct Template {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
};

absl::Status AddTemplateToken(const JsonView& processor, const JsonView& item,
                              std::vector<int32_t>& ids) {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView token, item.Object("SpecialToken"));
  ESPALIER_ASSIGN_OR_RETURN(const std::string name, token.String("id"));
  ESPALIER_ASSIGN_OR_RETURN(const JsonView all, processor.Object("special_tokens"));
  ESPALIER_ASSIGN_OR_RETURN(const JsonView entry, all.Object(name));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> values, entry.Array("ids"));
  for (const JsonView& value : values) {
    ESPALIER_ASSIGN_OR_RETURN(const int32_t id, ToId(value));
    ids.push_back(id);
  }
  return absl::OkStatus();
}

// The "single" form: special tokens around one sequence.
absl::Status ParseTemplateProcessing(const JsonView& processor, Template& result) {
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> items, processor.Array("single"));
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  int sequences = 0;
  for (const JsonView& item : items) {
    if (item.Has("Sequence")) {
      ++sequences;
    } else {
      ESPALIER_RETURN_IF_ERROR(AddTemplateToken(processor, item, sequences == 0 ? before : after));
    }
  }
  if (sequences != 1) return processor.Invalid("\"single\" must hold one Sequence");
  // Later processors wrap what earlier ones made.
  result.before.insert(result.before.begin(), before.begin(), before.end());
  result.after.insert(result.after.end(), after.begin(), after.end());
  return absl::OkStatus();
}

absl::Status ParsePostProcessor(const JsonView& processor, Template& result) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string type, processor.String("type"));
  if (type == "ByteLevel") return absl::OkStatus();  // moves offsets only
  if (type == "TemplateProcessing") return ParseTemplateProcessing(processor, result);
  if (type != "Sequence") return processor.Unsupported(absl::StrCat("the type \"", type, "\""));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> parts, processor.Array("processors"));
  for (const JsonView& part : parts) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string part_type, part.String("type"));
    if (part_type == "Sequence") return part.Unsupported("a Sequence within a Sequence");
    ESPALIER_RETURN_IF_ERROR(ParsePostProcessor(part, result));
  }
  return absl::OkStatus();
}

// Whether the normalizer is NFC rather than none.
absl::StatusOr<bool> ParseNormalizer(const JsonView& normalizer) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string type, normalizer.String("type"));
  if (type == "NFC") return true;
  if (type != "Sequence") {
    return normalizer.Unsupported(absl::StrCat("the type \"", type, "\"; supported is NFC"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> parts, normalizer.Array("normalizers"));
  for (const JsonView& part : parts) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string part_type, part.String("type"));
    if (part_type != "NFC") return part.Unsupported(absl::StrCat("the type \"", part_type, "\""));
  }
  return !parts.empty();
}

absl::StatusOr<std::string> Nfc(std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(error);
  std::string result;
  if (U_SUCCESS(error)) {
    icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
    nfc->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                       nullptr, error);
  }
  if (U_FAILURE(error)) {
    return absl::InternalError(absl::StrCat("ICU cannot normalise: ", u_errorName(error)));
  }
  return result;
}

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(AddedTokens added, bool nfc, PreTokenizer pre_tokenizer, BpeModel model,
               Template around)
      : added_(std::move(added)),
        nfc_(nfc),
        pre_tokenizer_(std::move(pre_tokenizer)),
        model_(std::move(model)),
        around_(std::move(around)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    if (const auto offset = InvalidUtf8Offset(text)) {
      return absl::InvalidArgumentError(absl::StrCat("the text is not UTF-8 at byte ", *offset));
    }
    MatchBudget budget(text.size());
    std::vector<int32_t> ids = around_.before;
    for (const Segment& segment : added_.Split(text, /*normalized=*/false)) {
      if (segment.id) {
        ids.push_back(*segment.id);
        continue;
      }
      ESPALIER_RETURN_IF_ERROR(EncodeSegment(segment.text, budget, ids));
    }
    ids.insert(ids.end(), around_.after.begin(), around_.after.end());
    return ids;
  }

  int64_t vocab_size() const override {
    return int64_t{std::max(model_.max_id(), added_.max_id())} + 1;
  }

 private:
  absl::Status EncodeSegment(std::string_view text, MatchBudget& budget,
                             std::vector<int32_t>& ids) const {
    std::string normalized;
    if (nfc_) {
      ESPALIER_ASSIGN_OR_RETURN(normalized, Nfc(text));
      text = normalized;
    }
    for (const Segment& segment : added_.Split(text, /*normalized=*/true)) {
      if (segment.id) {
        ids.push_back(*segment.id);
        continue;
      }
      Pieces pieces;
      ESPALIER_RETURN_IF_ERROR(pre_tokenizer_.Split(segment.text, budget, pieces));
      EncodePieces(pieces, ids);
    }
    return absl::OkStatus();
  }

  // Words repeat: each is merged once in a segment.
  void EncodePieces(const Pieces& pieces, std::vector<int32_t>& ids) const {
    std::unordered_map<std::string_view, std::pair<size_t, size_t>> known;  // where in `ids`
    for (const std::string_view piece : pieces.views) {
      const auto [entry, inserted] = known.try_emplace(piece, ids.size(), ids.size());
      auto& [begin, end] = entry->second;
      if (inserted) {
        model_.Encode(piece, ids);
        end = ids.size();
        continue;
      }
      for (size_t i = begin; i < end; ++i) ids.push_back(ids[i]);
    }
  }

  const AddedTokens added_;
  const bool nfc_;
  const PreTokenizer pre_tokenizer_;
  const BpeModel model_;
  const Template around_;
};

absl::StatusOr<PreTokenizer> MakePreTokenizer(const JsonView& root, const BpeOptions& options) {
  if (options.gpt2_add_prefix_space) {
    return PreTokenizer::ByteLevel(*options.gpt2_add_prefix_space);
  }
  if (!root.Has("pre_tokenizer")) {
    return root.Unsupported("no pre_tokenizer; only byte-level BPE is supported");
  }
  ESPALIER_ASSIGN_OR_RETURN(const JsonView view, root.Object("pre_tokenizer"));
  return PreTokenizer::Parse(view);
}

bool HasType(const nlohmann::json& value, std::string_view type) {
  if (!value.is_object()) return false;
  const auto found = value.find("type");
  if (found != value.end() && found->is_string() && found->get_ref<const std::string&>() == type) {
    return true;
  }
  for (const char* list : {"normalizers", "pretokenizers"}) {
    const auto parts = value.find(list);
    if (parts == value.end() || !parts->is_array()) continue;
    for (const nlohmann::json& part : *parts) {
      const auto part_type = part.is_object() ? part.find("type") : part.end();
      if (part.is_object() && part_type != part.end() && *part_type == std::string(type)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(const nlohmann::json& document,
                                                            std::string_view source,
                                                            const BpeOptions& options) {
  const JsonView root(document, std::string(source));
  ESPALIER_ASSIGN_OR_RETURN(const JsonView model_view, root.Object("model"));
  ESPALIER_ASSIGN_OR_RETURN(BpeModel model, BpeModel::Parse(model_view));
  ESPALIER_ASSIGN_OR_RETURN(AddedTokens added, AddedTokens::Parse(root));
  ESPALIER_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer, MakePreTokenizer(root, options));
  bool nfc = false;
  if (root.Has("normalizer") && !options.gpt2_add_prefix_space) {
    ESPALIER_ASSIGN_OR_RETURN(const JsonView view, root.Object("normalizer"));
    ESPALIER_ASSIGN_OR_RETURN(nfc, ParseNormalizer(view));
  }
  Template around;
  if (root.Has("post_processor")) {
    ESPALIER_ASSIGN_OR_RETURN(const JsonView view, root.Object("post_processor"));
    ESPALIER_RETURN_IF_ERROR(ParsePostProcessor(view, around));
  }
  return std::make_unique<BpeTokenizer>(std::move(added), nfc, std::move(pre_tokenizer),
                                        std::move(model), std::move(around));
}

bool IsConvertedSentencePiece(const nlohmann::json& document) {
  const auto part = [&](const char* key) {
    const auto found = document.find(key);
    return found == document.end() ? nlohmann::json() : *found;
  };
  const auto model = document.find("model");
  if (model != document.end() && model->is_object()) {
    const auto fallback = model->find("byte_fallback");
    if (fallback != model->end() && *fallback == true) return true;
    if (HasType(*model, "Unigram")) return true;
  }
  return HasType(part("pre_tokenizer"), "Metaspace") || HasType(part("normalizer"), "Prepend");
}

}  // namespace espalier::tokenizers
