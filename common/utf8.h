// Validity of UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
#ifndef ESPALIER_COMMON_UTF8_H_
#define ESPALIER_COMMON_UTF8_H_

#include <cstddef>
#include <optional>
#include <string_view>

namespace espalier {

// Bytes of the code point that `text` begins with, or 0 when it begins with none.
size_t Utf8Length(std::string_view text);

// Offset of the first byte that belongs to no code point; none when all of `text` is valid.
std::optional<size_t> InvalidUtf8Offset(std::string_view text);

}  // namespace espalier

#endif  // ESPALIER_COMMON_UTF8_H_
