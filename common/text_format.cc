#include "common/text_format.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace espalier {

std::string_view TextFormatName(TextFormat format) {
  return format == TextFormat::kWikiText ? "wikitext" : "plain";
}

absl::StatusOr<TextFormat> ParseTextFormat(std::string_view name) {
  if (name == "wikitext") return TextFormat::kWikiText;
  if (name == "plain") return TextFormat::kPlain;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown text format \"", std::string(name), "\": use wikitext or plain"));
}

}  // namespace espalier
