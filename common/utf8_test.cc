#include "common/utf8.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(Utf8Test, AcceptsTheFirstAndLastCodePointOfEachLength) {
  for (const char* text :
       {"\x01", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    const std::string_view point(text);
    EXPECT_EQ(Utf8Length(point), point.size());
    EXPECT_EQ(InvalidUtf8Offset(point), std::nullopt);
  }
}

TEST(Utf8Test, RefusesWhatRfc3629Forbids) {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC2", "\xE2\x82", "\xF0\x9F\x98", "\xC2 ",
        "\xE2\x82 ", "\xF0\x9F\x98 "}) {
    EXPECT_EQ(Utf8Length(text), 0u) << text;
    EXPECT_EQ(InvalidUtf8Offset(text), 0u) << text;
  }
}

TEST(Utf8Test, NamesTheFirstOffendingByte) {
  EXPECT_EQ(InvalidUtf8Offset(""), std::nullopt);
  EXPECT_EQ(InvalidUtf8Offset("\xC3\xA4 b\xC3\xB6\xFE\xFF"), 6u);
  EXPECT_EQ(InvalidUtf8Offset("ab\xE2\x82"), 2u);
  EXPECT_EQ(Utf8Length(""), 0u);
}

}  // namespace
}  // namespace espalier
