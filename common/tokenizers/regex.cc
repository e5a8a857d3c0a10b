#include "common/tokenizers/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace espalier::tokenizers {
namespace {

absl::Status Refuse(std::string_view pattern, std::string_view construct) {
  return absl::UnimplementedError(absl::StrCat("the pattern \"", std::string(pattern), "\" uses \"",
                                               std::string(construct),
                                               "\", which is not supported"));
}

// Groups that mean the same in both syntaxes.
constexpr std::array<std::string_view, 6> kGroups = {"(?:", "(?i:", "(?!", "(?=", "(?<!", "(?<="};

bool IsKnownGroup(std::string_view rest) {
  return std::any_of(kGroups.begin(), kGroups.end(),
                     [&](std::string_view group) { return rest.starts_with(group); });
}

// Bytes of the escape that `rest` begins with: two, or to the brace that ends \p{...}.
size_t EscapeLength(std::string_view rest) {
  const bool property = rest.starts_with("\\p{") || rest.starts_with("\\P{");
  const size_t end = property ? rest.find('}') : 1;
  return end == std::string_view::npos ? rest.size() : std::min(rest.size(), end + 1);
}

// That escape, translated; empty when it has no common meaning.
std::string TranslateEscape(std::string_view escape) {
  if (escape.size() < 2) return "";
  const char c = escape[1];
  // PCRE2's own \s also has U+180E, which is no white space since Unicode 6.3.
  if (c == 's') return "\\p{White_Space}";
  if (c == 'S') return "\\P{White_Space}";
  const bool same = std::string_view("rntdDpP").find(c) != std::string_view::npos ||
                    std::ispunct(static_cast<unsigned char>(c));
  return same ? std::string(escape) : "";
}

// Called before each item of a pattern that is tried.
struct Meter {
  MatchBudget* budget;
  size_t position = 0;  // in the text, when it was last called

  static int Step(pcre2_callout_block* block, void* data) {
    auto* meter = static_cast<Meter*>(data);
    const size_t last = std::exchange(meter->position, block->current_position);
    const size_t moved = std::max(last, meter->position) - std::min(last, meter->position);
    return meter->budget->Spend(1 + static_cast<int64_t>(moved)) ? 0 : PCRE2_ERROR_MATCHLIMIT;
  }
};

}  // namespace

absl::StatusOr<std::string> TranslatePattern(std::string_view pattern) {
  std::string translated;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    const char c = rest[0];
    if (c == '\\') {
      const std::string_view escape = rest.substr(0, EscapeLength(rest));
      const std::string same = TranslateEscape(escape);
      if (same.empty()) return Refuse(pattern, escape);
      translated += same;
      i += escape.size();
      continue;
    }
    if (in_class && (c == '[' || rest.starts_with("&&"))) return Refuse(pattern, rest.substr(0, 2));
    if (!in_class) {
      if (c == '^' || c == '$') return Refuse(pattern, rest.substr(0, 1));
      if (rest.starts_with("(*") || rest.starts_with("}+"))
        return Refuse(pattern, rest.substr(0, 2));
      if (rest.starts_with("(?") && !IsKnownGroup(rest)) return Refuse(pattern, rest.substr(0, 3));
    }
    const size_t length = c == '[' && rest.starts_with("[^") ? 2 : 1;
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    translated += rest.substr(0, length);
    i += length;
  }
  return translated;
}

struct Regex::Code {
  ~Code() { pcre2_code_free(code); }
  std::string pattern;
  pcre2_code* code = nullptr;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;

absl::StatusOr<std::unique_ptr<Regex>> Regex::Compile(std::string_view pattern) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string translated, TranslatePattern(pattern));
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->pattern = std::string(pattern);
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_AUTO_CALLOUT, &error, &offset, nullptr);
  if (code->code == nullptr) {
    std::array<PCRE2_UCHAR, 256> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return absl::UnimplementedError(
        absl::StrCat("the pattern \"", std::string(pattern),
                     "\" cannot be compiled: ", reinterpret_cast<const char*>(message.data())));
  }
  // Without a just-in-time compiler PCRE2 interprets, with the same answers.
  pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE);
  return std::unique_ptr<Regex>(new Regex(std::move(code)));
}

absl::Status Regex::Split(std::string_view text, MatchBudget& budget,
                          std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_->code, nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  Meter meter{.budget = &budget};
  pcre2_set_callout(context.get(), &Meter::Step, &meter);
  const auto add = [&](size_t from, size_t to) {
    if (from < to) pieces.push_back(text.substr(from, to - from));
  };
  size_t done = 0;
  for (size_t start = 0; start < text.size();) {
    const int found =
        pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                    PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) {
      std::array<PCRE2_UCHAR, 256> message{};
      pcre2_get_error_message(found, message.data(), message.size());
      return absl::ResourceExhaustedError(absl::StrCat(
          "the pattern \"", code_->pattern, "\" gave up at byte ", start, " of a text of ",
          text.size(), " bytes: ", reinterpret_cast<const char*>(message.data())));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    add(done, bounds[0]);
    add(bounds[0], bounds[1]);
    done = bounds[1];
    // An empty match must not be found again.
    start = bounds[1] > bounds[0]
                ? bounds[1]
                : bounds[1] + std::max<size_t>(1, Utf8Length(text.substr(bounds[1])));
  }
  add(done, text.size());
  return absl::OkStatus();
}

}  // namespace espalier::tokenizers
