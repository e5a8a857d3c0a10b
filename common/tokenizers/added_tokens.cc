#include "common/tokenizers/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::tokenizers {

absl::StatusOr<AddedTokens> AddedTokens::Parse(const JsonView& document) {
  AddedTokens result;
  if (!document.Has("added_tokens")) return result;
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> list, document.Array("added_tokens"));
  for (const JsonView& entry : list) {
    Token token;
    ESPALIER_ASSIGN_OR_RETURN(token.id, entry.Id("id"));
    ESPALIER_ASSIGN_OR_RETURN(token.content, entry.String("content"));
    if (token.content.empty()) return entry.Invalid("the token is empty");
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
      ESPALIER_ASSIGN_OR_RETURN(const bool set, entry.BoolOr(flag, false));
      if (set) {
        return entry.Unsupported(absl::StrCat("the token \"", token.content, "\" has ", flag));
      }
    }
    // The default of an added token that is not special is true, but every writer writes it.
    ESPALIER_ASSIGN_OR_RETURN(const bool normalized, entry.BoolOr("normalized", false));
    result.max_id_ = std::max(result.max_id_, token.id);
    const auto first = static_cast<unsigned char>(token.content[0]);
    result.tokens_[normalized ? 1 : 0][first].push_back(std::move(token));
  }
  for (Index& index : result.tokens_) {
    for (std::vector<Token>& tokens : index) {
      std::stable_sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) {
        return a.content.size() > b.content.size();
      });
    }
  }
  return result;
}

std::vector<Segment> AddedTokens::Split(std::string_view text, bool normalized) const {
  const Index& index = tokens_[normalized ? 1 : 0];
  std::vector<Segment> segments;
  size_t done = 0;
  const auto flush = [&](size_t end) {
    if (done < end) segments.push_back({text.substr(done, end - done), std::nullopt});
  };
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const std::vector<Token>& tokens = index[static_cast<unsigned char>(rest[0])];
    const auto token = std::find_if(tokens.begin(), tokens.end(), [&](const Token& candidate) {
      return rest.starts_with(candidate.content);
    });
    if (token == tokens.end()) {
      ++i;
      continue;
    }
    flush(i);
    segments.push_back({rest.substr(0, token->content.size()), token->id});
    i += token->content.size();
    done = i;
  }
  flush(text.size());
  return segments;
}

}  // namespace espalier::tokenizers
