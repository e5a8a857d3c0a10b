#include "common/tokenizers/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace espalier::tokenizers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string_view> Split(std::string_view pattern, std::string_view text) {
  const absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile(pattern);
  std::vector<std::string_view> pieces;
  EXPECT_TRUE(regex.ok()) << regex.status();
  EXPECT_TRUE(regex.ok() && (*regex)->Split(text, pieces).ok());
  return pieces;
}

TEST(RegexTest, SplitsIntoMatchesAndWhatLiesBetween) {
  EXPECT_THAT(Split("\\p{N}", "a12b3"), ElementsAre("a", "1", "2", "b", "3"));
  EXPECT_THAT(Split("\\p{N}+", "a12b3"), ElementsAre("a", "12", "b", "3"));
  EXPECT_THAT(Split("x", "abc"), ElementsAre("abc"));
  EXPECT_THAT(Split("x", ""), ElementsAre());
}

TEST(RegexTest, EmptyMatchesMoveOnByACodePoint) {
  EXPECT_THAT(Split("b*",
                    "\xC3\xA4"
                    "bb\xF0\x9F\x98\x80"),
              ElementsAre("\xC3\xA4", "bb", "\xF0\x9F\x98\x80"));
}

TEST(RegexTest, SpaceIsUnicodesWhiteSpace) {
  // NEL and NBSP are, the Mongolian vowel separator and the zero-width space are not.
  EXPECT_THAT(Split("\\s+",
                    "a\xC2\x85\xC2\xA0"
                    "b\xE1\xA0\x8E"
                    "c\xE2\x80\x8B"
                    "d"),
              ElementsAre("a", "\xC2\x85\xC2\xA0",
                          "b\xE1\xA0\x8E"
                          "c\xE2\x80\x8B"
                          "d"));
  EXPECT_THAT(Split("[^\\s]+", "a b"), ElementsAre("a", " ", "b"));
  EXPECT_THAT(Split("\\S", "a b"), ElementsAre("a", " ", "b"));
}

TEST(RegexTest, RefusesWhatPcre2ReadsDifferently) {
  for (const char* pattern :
       {"\\h", "\\w+", "\\R", "\\v", "^a", "a$", "a{2}+", "[a[b]]", "[[:alpha:]]", "[a&&b]",
        "(?m:a)", "(?<name>a)", "(?>a)", "(*UTF)a", "a\\", "(", "[a", "\\p{Nonsense}", "\\p{N"}) {
    const absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile(pattern);
    EXPECT_EQ(regex.status().code(), absl::StatusCode::kUnimplemented) << pattern;
    EXPECT_THAT(std::string(regex.status().message()), HasSubstr(pattern));
  }
  EXPECT_EQ(*TranslatePattern("\\p{L}+[^\\s\\]^$]\\$"), "\\p{L}+[^\\p{White_Space}\\]^$]\\$");
}

TEST(RegexTest, RunawayMatchesAreAnError) {
  const absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile("(?:a|aa)+[^a]");
  ASSERT_TRUE(regex.ok());
  std::vector<std::string_view> pieces;
  const absl::Status status = (*regex)->Split(std::string(64, 'a'), pieces);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gave up at byte 0 of a text of 64 bytes"));
}

}  // namespace
}  // namespace espalier::tokenizers
