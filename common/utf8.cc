#include "common/utf8.h"

namespace espalier {
namespace {

// Allowed values of the second byte, by the first (RFC 3629, section 4); the others are 80..BF.
bool SecondByteAllowed(unsigned char first, unsigned char second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;  // below: overlong
    case 0xED:
      return second >= 0x80 && second <= 0x9F;  // above: surrogates
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;  // below: overlong
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;  // above: beyond U+10FFFF
    default:
      return second >= 0x80 && second <= 0xBF;
  }
}

size_t LengthByFirstByte(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

}  // namespace

size_t Utf8Length(std::string_view text) {
  if (text.empty()) return 0;
  const size_t length = LengthByFirstByte(static_cast<unsigned char>(text[0]));
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    const unsigned char first = i == 1 ? text[0] : 0;
    if (!SecondByteAllowed(first, text[i])) return 0;
  }
  return length;
}

std::optional<size_t> InvalidUtf8Offset(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = Utf8Length(text.substr(offset));
    if (length == 0) return offset;
    offset += length;
  }
  return std::nullopt;
}

}  // namespace espalier
