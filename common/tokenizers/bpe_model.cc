#include "common/tokenizers/bpe_model.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::tokenizers {
namespace {

uint64_t KeyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Printable bytes stand for themselves (read as Latin-1); the others, in order, for U+0100 and up.
bool StandsForItself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

}  // namespace

std::string ByteCharacter(unsigned char byte) {
  int code = byte;
  if (!StandsForItself(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += StandsForItself(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

// A merge that may be due. Outdated entries stay in the queue and are recognised when they come up.
struct BpeModel::Pair {
  int32_t rank;
  int32_t left;  // index of the left symbol

  // std::priority_queue has the greatest on top.
  friend bool operator<(const Pair& a, const Pair& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }
};

absl::StatusOr<BpeModel> BpeModel::Parse(const JsonView& view) {
  BpeModel model;
  ESPALIER_RETURN_IF_ERROR(model.CheckOptions(view));
  ESPALIER_RETURN_IF_ERROR(model.ReadVocabulary(view));
  ESPALIER_RETURN_IF_ERROR(model.ReadMerges(view));
  return model;
}

absl::Status BpeModel::CheckOptions(const JsonView& view) {
  // Files written before the key existed are recognised by what they hold.
  ESPALIER_ASSIGN_OR_RETURN(const std::string type, view.StringOr("type", "BPE"));
  if (type != "BPE") {
    return view.Unsupported(absl::StrCat("the type \"", type, "\"; only BPE is supported"));
  }
  if (view.Has("dropout") && view.value()["dropout"] != 0) return view.Unsupported("dropout");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string affix, view.StringOr(key, ""));
    if (!affix.empty()) return view.Unsupported(absl::StrCat(key, " \"", affix, "\""));
  }
  ESPALIER_ASSIGN_OR_RETURN(const bool byte_fallback, view.BoolOr("byte_fallback", false));
  if (byte_fallback) return view.Unsupported("byte_fallback in a byte-level tokenizer");
  ESPALIER_ASSIGN_OR_RETURN(fuse_unknown_, view.BoolOr("fuse_unk", false));
  ESPALIER_ASSIGN_OR_RETURN(ignore_merges_, view.BoolOr("ignore_merges", false));
  return absl::OkStatus();
}

absl::Status BpeModel::ReadVocabulary(const JsonView& view) {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView vocabulary, view.Object("vocab"));
  vocabulary_.reserve(vocabulary.value().size());
  for (const auto& [token, value] : vocabulary.value().items()) {
    ESPALIER_ASSIGN_OR_RETURN(const int32_t id, vocabulary.Id(token));
    vocabulary_.emplace(token, id);
    max_id_ = std::max(max_id_, id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto token = vocabulary_.find(ByteCharacter(static_cast<unsigned char>(byte)));
    byte_ids_[byte] = token == vocabulary_.end() ? -1 : token->second;
  }
  ESPALIER_ASSIGN_OR_RETURN(const std::string unknown, view.StringOr("unk_token", ""));
  if (unknown.empty()) return absl::OkStatus();
  const auto token = vocabulary_.find(unknown);
  if (token == vocabulary_.end()) {
    return view.Invalid(absl::StrCat("unk_token \"", unknown, "\" is not in the vocabulary"));
  }
  unknown_id_ = token->second;
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const JsonView& view) {
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> merges, view.Array("merges"));
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const JsonView& entry : merges) ESPALIER_RETURN_IF_ERROR(AddMerge(entry, rank++));
  return absl::OkStatus();
}

// "left right", or ["left", "right"] as newer files have it.
absl::Status BpeModel::AddMerge(const JsonView& entry, int32_t rank) {
  const nlohmann::json& value = entry.value();
  std::string left;
  std::string right;
  if (value.is_string()) {
    const auto& both = value.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
      return entry.Invalid(absl::StrCat("expected two tokens, got \"", both, "\""));
    }
    left = both.substr(0, space);
    right = both.substr(space + 1);
  } else if (value.is_array() && value.size() == 2 && value[0].is_string() &&
             value[1].is_string()) {
    left = value[0].get<std::string>();
    right = value[1].get<std::string>();
  } else {
    return entry.Invalid("expected a merge of two tokens");
  }
  const auto left_id = vocabulary_.find(left);
  const auto right_id = vocabulary_.find(right);
  const auto merged_id = vocabulary_.find(left + right);
  for (const auto& token : {left_id, right_id, merged_id}) {
    if (token != vocabulary_.end()) continue;
    return entry.Invalid(absl::StrCat("the merge of \"", left, "\" and \"", right,
                                      "\" names or makes a token that is not in the vocabulary"));
  }
  merges_.insert_or_assign(KeyOf(left_id->second, right_id->second),
                           Merge{rank, merged_id->second});
  return absl::OkStatus();
}

const BpeModel::Merge* BpeModel::FindMerge(int32_t left, int32_t right) const {
  const auto merge = merges_.find(KeyOf(left, right));
  return merge == merges_.end() ? nullptr : &merge->second;
}

std::vector<BpeModel::Symbol> BpeModel::Symbols(std::string_view piece) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  bool after_unknown = false;
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    const bool unknown = id < 0;
    const bool dropped = unknown && (unknown_id_ < 0 || (fuse_unknown_ && after_unknown));
    after_unknown = unknown;
    if (dropped) continue;
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({unknown ? unknown_id_ : id, index - 1, index + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

// Merges in place: a symbol that was merged into its left neighbour gets the id −1.
void BpeModel::MergeAll(std::vector<Symbol>& symbols) const {
  std::priority_queue<Pair> queue;
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Merge* merge = FindMerge(symbols[left].id, symbols[symbols[left].next].id);
    if (merge != nullptr) queue.push({merge->rank, left});
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Pair pair = queue.top();
    queue.pop();
    Symbol& left = symbols[pair.left];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const Merge* merge = FindMerge(left.id, right.id);
    if (merge == nullptr || merge->rank != pair.rank) continue;
    left.id = merge->id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = pair.left;
    consider(left.previous);
    consider(pair.left);
  }
}

void BpeModel::Encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    std::string token;
    for (const char c : piece) token += ByteCharacter(static_cast<unsigned char>(c));
    if (const auto whole = vocabulary_.find(token); whole != vocabulary_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<Symbol> symbols = Symbols(piece);
  MergeAll(symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

}  // namespace espalier::tokenizers
