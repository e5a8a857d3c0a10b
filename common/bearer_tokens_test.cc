#include "common/bearer_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "common/testing/certificates.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kFirst[] = "0123456789abcdef";
constexpr char kSecond[] = "another-token-of-some-length";

std::string Error(const std::string& text) {
  const auto tokens = ParseTokens("--token-file", "t", text);
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokens.status().message());
}

TEST(BearerTokensTest, OneALineWithoutCommentsAndSpaces) {
  const auto tokens =
      ParseTokens("", "", std::string("# ours\n\n  ") + kFirst + " \r\n\t# second\n" + kSecond);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_THAT(*tokens, ElementsAre(kFirst, kSecond));
}

TEST(BearerTokensTest, ErrorsNameTheLineButNotTheToken) {
  EXPECT_THAT(Error("# ours\n0123456789abcde\n"),
              AllOf(HasSubstr("--token-file t, line 2"), HasSubstr("15"), HasSubstr("16"),
                    Not(HasSubstr("0123456789"))));
  EXPECT_THAT(Error("0123456789 0123456789\n"), AllOf(HasSubstr("line 1"), HasSubstr("spaces")));
  EXPECT_THAT(Error("0123456789012345\xc3\xa4\n"), HasSubstr("ASCII"));
  EXPECT_THAT(Error(std::string("0123456789012345\0a", 18)), HasSubstr("ASCII"));
  EXPECT_THAT(Error("# nothing\n"), AllOf(HasSubstr("--token-file t"), HasSubstr("no token")));
}

TEST(BearerTokensTest, ASetKnowsItsOwn) {
  const TokenSet set({kFirst, kSecond});
  EXPECT_TRUE(set.Contains(kFirst));
  EXPECT_TRUE(set.Contains(kSecond));
  for (const char* other : {"", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"}) {
    EXPECT_FALSE(set.Contains(other)) << other;
  }
  EXPECT_TRUE(set.Intersects(TokenSet({"something-else-entirely", kSecond})));
  EXPECT_FALSE(set.Intersects(TokenSet({"something-else-entirely"})));
}

TEST(BearerTokensTest, FilesAreReadWithTheirFlag) {
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "tokens";
  const std::string path =
      WriteSecret(folder / "tokens", std::string(kFirst) + "\n" + kSecond + "\n");
  Warnings warnings;
  EXPECT_EQ(*ReadToken("--token-file", path, &warnings), kFirst);
  EXPECT_TRUE(TokenSet::Read("--token-file", path, &warnings)->Contains(kSecond));
  EXPECT_TRUE(warnings.empty());
  std::filesystem::permissions(path, std::filesystem::perms::others_read,
                               std::filesystem::perm_options::add);
  EXPECT_TRUE(TokenSet::Read("--token-file", path, &warnings).ok());
  EXPECT_THAT(warnings, ElementsAre(HasSubstr(path)));
  const auto missing = ReadToken("--token-file", folder / "none", &warnings);
  EXPECT_THAT(std::string(missing.status().message()),
              AllOf(HasSubstr("--token-file"), HasSubstr("none")));
}

}  // namespace
}  // namespace espalier
