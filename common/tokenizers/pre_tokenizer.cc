#include "common/tokenizers/pre_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::tokenizers {
namespace {

// Of OpenAI's GPT-2 (src/encoder.py), as every ByteLevel pre-tokenizer has it.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr size_t kMostSteps = 32;  // real ones have up to four

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Parse(const JsonView& view) {
  PreTokenizer result;
  ESPALIER_RETURN_IF_ERROR(result.ParseInto(view));
  if (result.steps_.empty() || !result.steps_.back().byte_level) {
    return view.Unsupported("the last step is not ByteLevel; only byte-level BPE is supported");
  }
  return result;
}

absl::StatusOr<PreTokenizer> PreTokenizer::ByteLevel(bool add_prefix_space) {
  PreTokenizer result;
  ESPALIER_RETURN_IF_ERROR(result.AddByteLevel(add_prefix_space, /*use_regex=*/true));
  return result;
}

absl::Status PreTokenizer::ParseInto(const JsonView& view) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string type, view.String("type"));
  if (!steps_.empty() && steps_.back().byte_level) {
    return view.Unsupported(absl::StrCat("a step (\"", type, "\") after ByteLevel"));
  }
  // Each step goes over the whole text.
  if (steps_.size() == kMostSteps) {
    return view.Unsupported(absl::StrCat("more than ", kMostSteps, " steps"));
  }
  if (type != "Sequence") return AddStep(view, type);
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<JsonView> parts, view.Array("pretokenizers"));
  for (const JsonView& part : parts) {
    ESPALIER_ASSIGN_OR_RETURN(const std::string part_type, part.String("type"));
    if (part_type == "Sequence") return part.Unsupported("a Sequence within a Sequence");
    ESPALIER_RETURN_IF_ERROR(ParseInto(part));
  }
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddStep(const JsonView& view, std::string_view type) {
  if (type == "ByteLevel") {
    ESPALIER_ASSIGN_OR_RETURN(const bool prefix, view.BoolOr("add_prefix_space", true));
    ESPALIER_ASSIGN_OR_RETURN(const bool use_regex, view.BoolOr("use_regex", true));
    return AddByteLevel(prefix, use_regex);
  }
  if (type == "Digits") {
    ESPALIER_ASSIGN_OR_RETURN(const bool individual, view.BoolOr("individual_digits", false));
    return AddRegex(individual ? "\\p{N}" : "\\p{N}+");
  }
  if (type == "Split") return AddSplit(view);
  return view.Unsupported(absl::StrCat("the type \"", std::string(type),
                                       "\"; supported are ByteLevel, Digits, Split, Sequence"));
}

absl::Status PreTokenizer::AddByteLevel(bool add_prefix_space, bool use_regex) {
  if (use_regex) {
    ESPALIER_RETURN_IF_ERROR(AddRegex(kGpt2Pattern));
  } else {
    steps_.emplace_back();
  }
  steps_.back().add_prefix_space = add_prefix_space;
  steps_.back().byte_level = true;
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddRegex(std::string_view pattern) {
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<Regex> regex, Regex::Compile(pattern));
  steps_.emplace_back().regex = std::move(regex);
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(const JsonView& view) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string behavior, view.String("behavior"));
  ESPALIER_ASSIGN_OR_RETURN(const bool invert, view.BoolOr("invert", false));
  if (behavior != "Isolated" || invert) {
    return view.Unsupported(absl::StrCat("behavior \"", behavior, "\"", invert ? ", inverted" : "",
                                         "; only Isolated is supported"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const JsonView pattern, view.Object("pattern"));
  if (!pattern.Has("Regex")) return pattern.Unsupported("a pattern that is no Regex");
  ESPALIER_ASSIGN_OR_RETURN(const std::string regex, pattern.String("Regex"));
  const absl::Status added = AddRegex(regex);
  return added.ok() ? added : pattern.Unsupported(std::string(added.message()));
}

absl::Status PreTokenizer::Split(std::string_view text, MatchBudget& budget, Pieces& pieces) const {
  if (text.empty()) return absl::OkStatus();
  std::vector<std::string_view> current = {text};
  for (const Step& step : steps_) {
    std::vector<std::string_view> next;
    for (std::string_view piece : current) {
      if (step.add_prefix_space && !piece.starts_with(' ')) {
        piece = pieces.owned.emplace_back(" ").append(piece);
      }
      if (step.regex == nullptr) {
        next.push_back(piece);
      } else {
        ESPALIER_RETURN_IF_ERROR(step.regex->Split(piece, budget, next));
      }
    }
    current = std::move(next);
  }
  pieces.views.insert(pieces.views.end(), current.begin(), current.end());
  return absl::OkStatus();
}

}  // namespace espalier::tokenizers
