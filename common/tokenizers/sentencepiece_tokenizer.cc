#include "common/tokenizers/sentencepiece_tokenizer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "common/tokenizers/sentencepiece_model.h"
#include "common/utf8.h"

namespace espalier::tokenizers {
namespace {

using Type = SentencePiece::Type;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, which stands for a space

// A stretch of the normalised text while merges go on; empty once merged into its left neighbour.
struct Symbol {
  std::string_view text;
  int32_t previous;
  int32_t next;
  bool frozen;  // a user-defined symbol: never merged
};

// A merge that may be due: highest score first, then leftmost.
struct Pair {
  float score;
  int32_t left;
  size_t size;  // of both texts: an outdated pair is recognised by it

  friend bool operator<(const Pair& a, const Pair& b) {
    return a.score != b.score ? a.score < b.score : a.left > b.left;
  }
};

// Up to the first space that follows something else.
size_t FirstWordLength(std::string_view text) {
  size_t spaces = 0;
  while (text.substr(spaces).starts_with(kSpace)) spaces += kSpace.size();
  return std::min(text.find(kSpace, spaces), text.size());
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Make(SentencePieceModel model,
                                                         std::string_view source,
                                                         const SentencePieceOptions& options);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(model_.pieces.size()); }

 private:
  explicit SentencePieceTokenizer(SentencePieceModel model) : model_(std::move(model)) {}

  absl::Status IndexPieces(std::string_view source);
  absl::Status IndexBytes(std::string_view source);
  // The id of a control piece.
  absl::StatusOr<int32_t> ControlId(const std::string& piece, std::string_view source) const;

  std::string Normalize(std::string_view text) const;
  std::vector<Symbol> Split(std::string_view text) const;
  size_t UserDefinedLength(std::string_view text) const;
  void MergeAll(std::vector<Symbol>& symbols) const;
  // −1: not a piece that merges may make.
  int32_t Find(std::string_view text) const;
  // The length of the first stretch of `text` that no merge reaches beyond.
  size_t WordLength(std::string_view text) const;
  // Both leave one unknown id for each unknown character.
  void EncodeWord(std::string_view word, std::vector<int32_t>& ids) const;
  void AppendIds(std::string_view text, std::vector<int32_t>& ids) const;

  const SentencePieceModel model_;
  // Views of model_'s strings; pieces that a text can become, but for bytes and the unknown one.
  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<std::string_view> user_defined_;  // longest first
  bool words_are_independent_ = true;           // no piece has a space after something else
  std::array<int32_t, 256> byte_ids_{};
  int32_t unknown_id_ = -1;
  std::vector<int32_t> before_;
  std::vector<int32_t> after_;
};

absl::Status SentencePieceTokenizer::IndexPieces(std::string_view source) {
  const std::string where(source);
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    const SentencePiece& piece = model_.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.text.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": piece ", id, " is empty"));
    }
    if (piece.type == Type::kUnused) {
      return absl::UnimplementedError(
          absl::StrCat(where, ": piece ", id, " is marked unused, which is not supported"));
    }
    if (piece.type == Type::kUnknown) {
      if (unknown_id_ >= 0) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": two unknown pieces"));
      }
      unknown_id_ = id;
    }
    if (piece.type == Type::kUserDefined) user_defined_.push_back(piece.text);
    words_are_independent_ &= FirstWordLength(piece.text) == piece.text.size();
    if (piece.type != Type::kNormal && piece.type != Type::kUserDefined) continue;
    if (!ids_.emplace(piece.text, id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": the piece \"", piece.text, "\" occurs twice"));
    }
  }
  if (unknown_id_ < 0) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": has no unknown piece"));
  }
  std::sort(user_defined_.begin(), user_defined_.end(),
            [](std::string_view a, std::string_view b) { return a.size() > b.size(); });
  return absl::OkStatus();
}

absl::Status SentencePieceTokenizer::IndexBytes(std::string_view source) {
  if (!model_.byte_fallback) return absl::OkStatus();
  std::unordered_map<std::string_view, int32_t> bytes;
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    if (model_.pieces[i].type == Type::kByte) {
      bytes.emplace(model_.pieces[i].text, static_cast<int32_t>(i));
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name = absl::StrFormat("<0x%02X>", byte);
    const auto piece = bytes.find(name);
    if (piece == bytes.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(std::string(source), ": falls back to bytes, but has no piece ", name));
    }
    byte_ids_[byte] = piece->second;
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> SentencePieceTokenizer::ControlId(const std::string& piece,
                                                          std::string_view source) const {
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    if (model_.pieces[i].type == Type::kControl && model_.pieces[i].text == piece) {
      return static_cast<int32_t>(i);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(source), ": has no control piece \"", piece,
                   "\"; if the model is used without it, say so in tokenizer_config.json "
                   "(add_bos_token, add_eos_token)"));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::Make(
    SentencePieceModel model, std::string_view source, const SentencePieceOptions& options) {
  if (model.model_type != 2) {
    return absl::UnimplementedError(absl::StrCat(std::string(source), ": the model type is ",
                                                 model.model_type,
                                                 "; only BPE (2), as of LLaMA, is supported"));
  }
  if (model.has_character_map) {
    return absl::UnimplementedError(absl::StrCat(
        std::string(source), ": the normalizer \"", model.normalizer_name,
        "\" rewrites characters; only models that keep them, as LLaMA's, are supported"));
  }
  std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(std::move(model)));
  ESPALIER_RETURN_IF_ERROR(tokenizer->IndexPieces(source));
  ESPALIER_RETURN_IF_ERROR(tokenizer->IndexBytes(source));
  if (options.add_bos) {
    ESPALIER_ASSIGN_OR_RETURN(const int32_t bos,
                              tokenizer->ControlId(tokenizer->model_.bos_piece, source));
    tokenizer->before_.push_back(bos);
  }
  if (options.add_eos) {
    ESPALIER_ASSIGN_OR_RETURN(const int32_t eos,
                              tokenizer->ControlId(tokenizer->model_.eos_piece, source));
    tokenizer->after_.push_back(eos);
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

std::string SentencePieceTokenizer::Normalize(std::string_view text) const {
  const std::string_view space = model_.escape_whitespaces ? kSpace : " ";
  const bool squeeze = model_.remove_extra_whitespaces;
  if (squeeze) text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  if (text.empty()) return "";
  std::string normalized;
  normalized.reserve(text.size() + text.size() / 2 + 2 * space.size());
  if (model_.add_dummy_prefix && !model_.whitespace_as_suffix) normalized += space;
  bool after_space = false;
  for (const char c : text) {
    const bool is_space = c == ' ';
    if (is_space && after_space && squeeze) continue;
    after_space = is_space;
    if (is_space) {
      normalized += space;
    } else {
      normalized += c;
    }
  }
  if (squeeze && after_space) normalized.resize(normalized.size() - space.size());
  if (model_.add_dummy_prefix && model_.whitespace_as_suffix) normalized += space;
  return normalized;
}

size_t SentencePieceTokenizer::UserDefinedLength(std::string_view text) const {
  for (const std::string_view piece : user_defined_) {
    if (text.starts_with(piece)) return piece.size();
  }
  return 0;
}

std::vector<Symbol> SentencePieceTokenizer::Split(std::string_view text) const {
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  while (!text.empty()) {
    const size_t user_defined = UserDefinedLength(text);
    const size_t length = user_defined > 0 ? user_defined : Utf8Length(text);
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({text.substr(0, length), index - 1, index + 1, user_defined > 0});
    text.remove_prefix(length);
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

int32_t SentencePieceTokenizer::Find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

void SentencePieceTokenizer::MergeAll(std::vector<Symbol>& symbols) const {
  std::priority_queue<Pair> queue;
  // Neighbours lie side by side in the normalised text.
  const auto joined = [&](const Symbol& left) {
    return std::string_view(left.text.data(), left.text.size() + symbols[left.next].text.size());
  };
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    if (symbols[left].frozen || symbols[symbols[left].next].frozen) return;
    const std::string_view text = joined(symbols[left]);
    const int32_t id = Find(text);
    if (id >= 0) queue.push({model_.pieces[id].score, left, text.size()});
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Pair pair = queue.top();
    queue.pop();
    Symbol& left = symbols[pair.left];
    if (left.text.empty() || left.next < 0 || joined(left).size() != pair.size) continue;
    Symbol& right = symbols[left.next];
    left.text = joined(left);
    right.text = {};
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = pair.left;
    consider(left.previous);
    consider(pair.left);
  }
}

void SentencePieceTokenizer::AppendIds(std::string_view text, std::vector<int32_t>& ids) const {
  const int32_t id = Find(text);
  if (id >= 0) {
    ids.push_back(id);
  } else if (model_.byte_fallback) {
    for (const char c : text) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  } else {
    ids.push_back(unknown_id_);
  }
}

size_t SentencePieceTokenizer::WordLength(std::string_view text) const {
  return words_are_independent_ ? FirstWordLength(text) : text.size();
}

void SentencePieceTokenizer::EncodeWord(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<Symbol> symbols = Split(word);
  MergeAll(symbols);
  for (const Symbol& symbol : symbols) {
    if (!symbol.text.empty()) AppendIds(symbol.text, ids);
  }
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::Encode(std::string_view text) const {
  if (const auto offset = InvalidUtf8Offset(text)) {
    return absl::InvalidArgumentError(absl::StrCat("the text is not UTF-8 at byte ", *offset));
  }
  const std::string normalized = Normalize(text);
  std::vector<int32_t> ids = before_;
  // Words repeat: each is merged once.
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> known;  // where in `ids`
  for (std::string_view rest = normalized; !rest.empty();) {
    const std::string_view word = rest.substr(0, WordLength(rest));
    rest.remove_prefix(word.size());
    const auto [entry, inserted] = known.try_emplace(word, ids.size(), ids.size());
    auto& [begin, end] = entry->second;
    if (inserted) {
      EncodeWord(word, ids);
      end = ids.size();
    } else {
      for (size_t i = begin; i < end; ++i) ids.push_back(ids[i]);
    }
  }
  // A run of unknown characters is one token.
  const auto both_unknown = [&](int32_t a, int32_t b) { return a == unknown_id_ && b == a; };
  ids.erase(std::unique(ids.begin(), ids.end(), both_unknown), ids.end());
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(
    std::string_view bytes, std::string_view source, const SentencePieceOptions& options) {
  ESPALIER_ASSIGN_OR_RETURN(SentencePieceModel model, ParseSentencePieceModel(bytes, source));
  return SentencePieceTokenizer::Make(std::move(model), source, options);
}

}  // namespace espalier::tokenizers
