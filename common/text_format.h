// How a text file is laid out.
#ifndef ESPALIER_COMMON_TEXT_FORMAT_H_
#define ESPALIER_COMMON_TEXT_FORMAT_H_

#include <string_view>

#include "absl/status/statusor.h"

namespace espalier {

// kWikiText: the WikiText protocol (common/text.h). kPlain: the file's contents as they are.
enum class TextFormat { kWikiText, kPlain };

std::string_view TextFormatName(TextFormat format);  // "wikitext", "plain"
absl::StatusOr<TextFormat> ParseTextFormat(std::string_view name);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TEXT_FORMAT_H_
