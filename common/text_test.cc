#include "common/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "common/sha256.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One id a byte.
class ByteTokenizer : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override {
    if (text == "refuse") return absl::InvalidArgumentError("no");
    return std::vector<int32_t>(text.begin(), text.end());
  }
  int64_t vocab_size() const override { return 256; }
};

std::vector<int32_t> Iota(int count) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(TextFormatTest, Names) {
  for (const TextFormat format : {TextFormat::kWikiText, TextFormat::kPlain}) {
    EXPECT_EQ(*ParseTextFormat(TextFormatName(format)), format);
  }
  EXPECT_EQ(*ParseTextFormat("wikitext"), TextFormat::kWikiText);
  EXPECT_THAT(std::string(ParseTextFormat("csv").status().message()),
              HasSubstr("\"csv\": use wikitext or plain"));
}

TEST(JoinWikiTextRowsTest, RowsAreLinesJoinedByTwoNewlines) {
  EXPECT_EQ(JoinWikiTextRows(""), "");
  EXPECT_EQ(JoinWikiTextRows("a\n"), "a\n");
  EXPECT_EQ(JoinWikiTextRows("a\nb\n"), "a\n\n\nb\n");
  // Blank rows are empty, with or without spaces.
  EXPECT_EQ(JoinWikiTextRows(" \n = A = \n \nx\n"), "\n\n = A = \n\n\n\n\nx\n");
  EXPECT_EQ(JoinWikiTextRows("\n\n"), "\n\n");
  EXPECT_EQ(JoinWikiTextRows("\n"), "");
  // Without a final newline the last line is a row all the same.
  EXPECT_EQ(JoinWikiTextRows("a\nb"), "a\n\n\nb\n");
}

TEST(JoinWikiTextRowsTest, SpaceIsUnicodes) {
  EXPECT_EQ(JoinWikiTextRows("\t\r\x1c \xC2\xA0\xE2\x80\x83\xE3\x80\x80\xC2\x85\n"), "");
  EXPECT_EQ(JoinWikiTextRows("\xE2\x80\x8B\n"), "\xE2\x80\x8B\n");  // zero-width: not a space
  EXPECT_EQ(JoinWikiTextRows("\xC3\xA4\n"), "\xC3\xA4\n");
}

TEST(MakeTokenSequencesTest, HashCoversLengthAndIds) {
  const TokenSequences sequences = MakeTokenSequences(2, {1, 258, 3, 4});
  EXPECT_EQ(sequences.count(), 2);
  EXPECT_EQ(sequences.hash,
            Sha256Hex(std::string_view("\2\0\0\0\0\0\0\0\1\0\0\0\2\1\0\0\3\0\0\0\4\0\0\0", 24)));
  EXPECT_NE(sequences.hash, MakeTokenSequences(4, {1, 258, 3, 4}).hash);
  EXPECT_EQ(TokenSequences().count(), 0);
}

TEST(FirstSequencesTest, TakesWholeSequencesFromTheFront) {
  EXPECT_THAT(FirstSequences(Iota(11), 4, 2, "t")->tokens, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(FirstSequences(Iota(11), 4, 1, "t")->count(), 1);
  EXPECT_EQ(FirstSequences(Iota(11), 4, 0, "t")->count(), 2);
  EXPECT_EQ(FirstSequences(Iota(12), 4, 0, "t")->count(), 3);
  EXPECT_EQ(FirstSequences(Iota(12), 4, 0, "t")->sequence_length, 4);
}

TEST(FirstSequencesTest, TooLittleTextIsRefusedWithTheNumbers) {
  const absl::Status status = FirstSequences(Iota(11), 4, 3, "a.txt").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("a.txt: has 11 tokens"), HasSubstr("enough for 2 sequences of 4"),
                    HasSubstr("but 3 are needed")));
  EXPECT_FALSE(FirstSequences(Iota(3), 4, 0, "t").ok());
  EXPECT_FALSE(FirstSequences({}, 4, 0, "t").ok());
  EXPECT_FALSE(FirstSequences(Iota(8), 0, 1, "t").ok());
  EXPECT_FALSE(FirstSequences(Iota(8), 4, -1, "t").ok());
  EXPECT_FALSE(FirstSequences(Iota(8), 4, int64_t{1} << 62, "t").ok());
}

TEST(SampleSequencesTest, DrawsWholeSequencesInTextOrder) {
  const std::vector<int32_t> ids = Iota(403);
  const TokenSequences sample = *SampleSequences(ids, 4, 20, /*seed=*/7, /*purpose=*/3, "t");
  EXPECT_EQ(sample.count(), 20);
  for (int64_t i = 0; i < sample.count(); ++i) {
    const int32_t first = sample.tokens[i * 4];
    EXPECT_EQ(first % 4, 0);
    EXPECT_LT(first, 400);
    if (i > 0) {
      EXPECT_GT(first, sample.tokens[i * 4 - 4]);
    }
    for (int j = 1; j < 4; ++j) EXPECT_EQ(sample.tokens[i * 4 + j], first + j);
  }
  EXPECT_EQ(SampleSequences(ids, 4, 20, 7, 3, "t")->hash, sample.hash);
  EXPECT_NE(SampleSequences(ids, 4, 20, 8, 3, "t")->hash, sample.hash);
  EXPECT_NE(SampleSequences(ids, 4, 20, 7, 4, "t")->hash, sample.hash);
  EXPECT_EQ(SampleSequences(ids, 4, 100, 7, 3, "t")->hash, FirstSequences(ids, 4, 100, "t")->hash);
  EXPECT_EQ(SampleSequences(ids, 4, 0, 7, 3, "t")->count(), 100);
  EXPECT_THAT(std::string(SampleSequences(ids, 4, 101, 7, 3, "a.txt").status().message()),
              HasSubstr("a.txt: has 403 tokens"));
}

TEST(TokenizeFileTest, ReadsBothFormatsAndNamesTheFileInErrors) {
  const std::string file = ::testing::TempDir() + "/espalier_text_test.txt";
  std::ofstream(file) << "a\n \n";
  EXPECT_THAT(*TokenizeFile(ByteTokenizer(), file, TextFormat::kPlain),
              ElementsAre('a', '\n', ' ', '\n'));
  EXPECT_THAT(*TokenizeFile(ByteTokenizer(), file, TextFormat::kWikiText),
              ElementsAre('a', '\n', '\n', '\n'));

  // The offset is the file's, not the joined rows'.
  std::ofstream(file) << "ab\ncd\n\xFF";
  const absl::Status status = TokenizeFile(ByteTokenizer(), file, TextFormat::kWikiText).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(file + ": not UTF-8 at byte 6"));

  std::ofstream(file) << "refuse";
  EXPECT_THAT(
      std::string(TokenizeFile(ByteTokenizer(), file, TextFormat::kPlain).status().message()),
      HasSubstr(file + ": no"));
  EXPECT_EQ(TokenizeFile(ByteTokenizer(), "no/such.txt", TextFormat::kPlain).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace espalier
