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
  MatchBudget budget(text.size());
  EXPECT_TRUE(regex.ok() && (*regex)->Split(text, budget, pieces).ok());
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
  MatchBudget budget(64);
  const absl::Status status = (*regex)->Split(std::string(64, 'a'), budget, pieces);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gave up at byte 0 of a text of 64 bytes"));
}

// Each match of these stays below PCRE2's limit, or is not even counted by it.
TEST(RegexTest, ManyDearMatchesAreAnErrorTogether) {
  const std::string text(100'000, 'a');
  for (const char* pattern : {"a{0,2000}a{0,2000}[bc]", "a*[bc]"}) {
    const absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.status();
    std::vector<std::string_view> pieces;
    MatchBudget budget(text.size());
    const absl::Status status = (*regex)->Split(text, budget, pieces);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr(pattern));
  }
}

TEST(RegexTest, ABudgetIsSharedByTexts) {
  const absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile("a+");
  ASSERT_TRUE(regex.ok());
  MatchBudget budget(100);
  const std::string text(100, 'a');
  std::vector<std::string_view> pieces;
  int texts = 0;
  while ((*regex)->Split(text, budget, pieces).ok()) ++texts;
  // Some 200 of ten million steps a text, by whatever path PCRE2 takes.
  EXPECT_GT(texts, 10'000);
  EXPECT_LT(texts, 1'000'000);
}

// Tokenizers meet files of spaces, and of one long word.
TEST(RegexTest, LongRunsAreNotDear) {
  for (const char c : {' ', 'a', '1', '\n', '-'}) {
    const std::string text(1 << 20, c);
    EXPECT_EQ(
        Split("(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
              "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
              text)
            .size(),
        1)
        << c;
  }
}

}  // namespace
}  // namespace espalier::tokenizers
