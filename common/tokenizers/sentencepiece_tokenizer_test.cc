#include "common/tokenizers/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "common/file.h"
#include "common/tokenizers/sentencepiece_model.h"

namespace espalier::tokenizers {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ReadTestFile(const std::string& name) {
  const absl::StatusOr<std::string> bytes = ReadFile("common/testdata/" + name);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? *bytes : "";
}

// A length-delimited field of a message; numbers and lengths below 128.
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(bytes.size())) + bytes;
}
std::string Number(int number, int value) {
  return std::string(1, static_cast<char>(number << 3)) + std::string(1, static_cast<char>(value));
}
std::string Piece(const std::string& text, int type) {
  return Field(1, Field(1, text) + Number(3, type));
}
// Unknown, "<s>", and BPE.
std::string Head() { return Piece("<unk>", 2) + Piece("<s>", 3) + Field(2, Number(3, 2)); }

absl::Status ErrorOf(const std::string& bytes, SentencePieceOptions options = {}) {
  return MakeSentencePieceTokenizer(bytes, "tokenizer.model", options).status();
}

TEST(SentencePieceTokenizerTest, IdsAreThoseOfThePythonPackage) {
  const json goldens = json::parse(ReadTestFile("sentencepiece_goldens.json"));
  ASSERT_EQ(goldens["cases"].size(), 4u);
  for (const json& golden : goldens["cases"]) {
    const std::string name = golden["name"];
    const auto tokenizer = MakeSentencePieceTokenizer(
        ReadTestFile("sentencepiece/" + name + ".model"), name, {.add_bos = false});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (size_t i = 0; i < goldens["strings"].size(); ++i) {
      const auto ids = (*tokenizer)->Encode(goldens["strings"][i].get<std::string>());
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(json(*ids), golden["ids"][i]) << name << " " << goldens["strings"][i];
    }
  }
}

TEST(SentencePieceTokenizerTest, AddsBosAndEos) {
  const std::string bytes = ReadTestFile("sentencepiece/llama.model");
  const auto bare = MakeSentencePieceTokenizer(bytes, "", {.add_bos = false});
  const auto both = MakeSentencePieceTokenizer(bytes, "", {.add_bos = true, .add_eos = true});
  std::vector<int32_t> expected = *(*bare)->Encode("the tree");
  expected.insert(expected.begin(), 1);
  expected.push_back(2);
  EXPECT_EQ(*(*both)->Encode("the tree"), expected);
  EXPECT_EQ(*(*both)->Encode(""), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ((*both)->vocab_size(), 460);
}

TEST(SentencePieceTokenizerTest, InvalidUtf8IsRefusedWithItsOffset) {
  const auto tokenizer =
      MakeSentencePieceTokenizer(ReadTestFile("sentencepiece/llama.model"), "", {});
  EXPECT_THAT(std::string((*tokenizer)->Encode("ab\xC3").status().message()),
              HasSubstr("not UTF-8 at byte 2"));
}

// A quadratic merge would take minutes.
TEST(SentencePieceTokenizerTest, AMillionBytesWithoutSpaces) {
  const auto tokenizer =
      MakeSentencePieceTokenizer(ReadTestFile("sentencepiece/llama.model"), "", {});
  std::string word;
  while (word.size() < 1'000'000) word += "branchesthetree";
  const auto ids = (*tokenizer)->Encode(word);
  ASSERT_TRUE(ids.ok());
  EXPECT_GT(ids->size(), 100'000u);
}

TEST(SentencePieceTokenizerTest, MalformedFilesAreRefused) {
  const std::string good = ReadTestFile("sentencepiece/llama.model");
  for (const std::string& bytes :
       {std::string(), std::string("IQ== 0\nIg== 1\n"), good.substr(0, good.size() - 1),
        good.substr(1), std::string(1000, '\0'), std::string(1000, '\xFF'),
        Head() + Piece("\xFF", 1), Head() + Piece("a", 9), Head() + Number(1, 1)}) {
    const absl::Status status = ErrorOf(bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                StartsWith("tokenizer.model: not a sentencepiece model"));
  }
}

TEST(SentencePieceTokenizerTest, ImpossibleModelsAreRefused) {
  EXPECT_TRUE(ErrorOf(Head()).ok());
  const auto message = [](const std::string& bytes) {
    return std::string(ErrorOf(bytes).message());
  };
  EXPECT_THAT(message(Head() + Piece("a", 1) + Piece("a", 1)), HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(message(Head() + Piece("x", 2)), HasSubstr("two unknown pieces"));
  EXPECT_THAT(message(Head() + Piece("", 1)), HasSubstr("piece 2 is empty"));
  EXPECT_THAT(message(Piece("a", 1) + Field(2, Number(3, 2))), HasSubstr("has no unknown piece"));
  EXPECT_THAT(message(Piece("<unk>", 2) + Field(2, Number(3, 2))),
              AllOf(HasSubstr("no control piece \"<s>\""), HasSubstr("add_bos_token")));
  // Field 35 of the trainer's options is byte_fallback; its tag takes two bytes.
  EXPECT_THAT(message(Head() + Field(2, std::string("\x98\x02\x01", 3))),
              HasSubstr("has no piece <0x00>"));
}

TEST(SentencePieceTokenizerTest, UnsupportedModelsAreNamed) {
  const auto expect = [](const std::string& bytes, const std::string& what) {
    const absl::Status status = ErrorOf(bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  expect(Piece("<unk>", 2), "the model type is 1");
  expect(Head() + Field(3, Field(1, "nmt_nfkc") + Field(2, "x")), "the normalizer \"nmt_nfkc\"");
  expect(Head() + Piece("a", 5), "piece 2 is marked unused");
}

TEST(SentencePieceTokenizerTest, SurvivesMutilatedFiles) {
  const std::string good = ReadTestFile("sentencepiece/squeezed.model");
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = good;
    for (int edits = 0; edits < 3; ++edits) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const auto tokenizer = MakeSentencePieceTokenizer(bytes, "tokenizer.model", {});
    if (!tokenizer.ok()) {
      ++refused;
      continue;
    }
    EXPECT_TRUE((*tokenizer)->Encode("The gardener cuts the third branch. 12\n").ok());
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace espalier::tokenizers
