#include "common/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "common/file.h"
#include "common/sha256.h"
#include "common/text.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A folder of its own for each test, emptied.
class LoadTokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / (std::string("espalier_tokenizer_") + test->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& contents) {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
  }
  void CopyBpe() { fs::copy("common/testdata/bpe/tokenizer.json", folder_ / "tokenizer.json"); }
  void CopySentencePiece() {
    fs::copy("common/testdata/sentencepiece/llama.model", folder_ / "tokenizer.model");
  }
  std::vector<int32_t> Encode(const std::string& text) {
    const auto tokenizer = LoadTokenizer(folder_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *(*tokenizer)->Encode(text) : std::vector<int32_t>();
  }
  absl::Status Error() { return LoadTokenizer(folder_).status(); }

  fs::path folder_;
};

TEST_F(LoadTokenizerTest, SentencePieceAddsBosUnlessToldOtherwise) {
  CopySentencePiece();
  const std::vector<int32_t> with_bos = Encode("the tree");
  EXPECT_EQ(with_bos.front(), 1);
  Write("tokenizer_config.json", R"({"add_bos_token": false})");
  EXPECT_EQ(Encode("the tree"), std::vector<int32_t>(with_bos.begin() + 1, with_bos.end()));
  Write("tokenizer_config.json", R"({"add_bos_token": null, "add_eos_token": true})");
  EXPECT_EQ(Encode("the tree").front(), 1);
  EXPECT_EQ(Encode("the tree").back(), 2);
}

TEST_F(LoadTokenizerTest, ByteLevelTokenizerJsonIsPreferred) {
  CopyBpe();
  const std::vector<int32_t> bpe = Encode("the tree");
  CopySentencePiece();
  EXPECT_EQ(Encode("the tree"), bpe);
  EXPECT_NE(bpe.front(), 1);
}

TEST_F(LoadTokenizerTest, ConvertedSentencePieceNeedsItsModel) {
  Write("tokenizer.json", R"({"model": {"type": "BPE", "byte_fallback": true}})");
  EXPECT_EQ(Error().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(Error().message()), HasSubstr("put the tokenizer.model"));
  CopySentencePiece();
  EXPECT_EQ(Encode("the tree").front(), 1);
}

// The same file by class; the reference is transformers 5.23, whose GPT2Tokenizer gave "  1" as
// GPT-2's pattern cuts it (" ", " 1") although the file says Digits first ("  ", "1").
TEST_F(LoadTokenizerTest, Gpt2ClassIgnoresThePreTokenizer) {
  nlohmann::json document = nlohmann::json::parse(*ReadFile("common/testdata/bpe/tokenizer.json"));
  document["pre_tokenizer"] = nlohmann::json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})");
  Write("tokenizer.json", document.dump());
  const std::vector<int32_t> digits = Encode("a  1");
  Write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  const std::vector<int32_t> gpt2 = Encode("a  1");
  EXPECT_NE(digits, gpt2);
  Write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  EXPECT_EQ(Encode("a  1"), digits);
  Write("tokenizer_config.json", R"({"tokenizer_class": "GPT2TokenizerFast",
                                     "add_prefix_space": true})");
  EXPECT_EQ(Encode(" a  1"), Encode("a  1"));
}

TEST_F(LoadTokenizerTest, MissingFilesAreNamed) {
  EXPECT_EQ(Error().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(
      std::string(Error().message()),
      AllOf(HasSubstr(folder_.string()), HasSubstr("neither tokenizer.json nor tokenizer.model")));
  EXPECT_EQ(LoadTokenizer("no/such/folder").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LoadTokenizerTest, MalformedFilesAreNamed) {
  Write("tokenizer.json", "{\"model\": ");
  EXPECT_EQ(Error().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Error().message()), HasSubstr("tokenizer.json: not valid JSON"));
  Write("tokenizer.json", "[]");
  EXPECT_THAT(std::string(Error().message()), HasSubstr("expected a JSON object, got array"));
  Write("tokenizer.json", "{\"a\": \"\xFF\"}");
  EXPECT_THAT(std::string(Error().message()), HasSubstr("tokenizer.json: not valid JSON"));
  Write("tokenizer.json", std::string(1'000'000, '['));
  EXPECT_THAT(std::string(Error().message()), HasSubstr("tokenizer.json: not valid JSON"));
  // A closed one would be copied, level by level, on the stack.
  Write("tokenizer.json",
        "{\"normalizer\": " + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}");
  EXPECT_THAT(std::string(Error().message()), HasSubstr("tokenizer.json: not valid JSON"));
  Write("tokenizer.json", "{}");
  EXPECT_THAT(std::string(Error().message()), HasSubstr("tokenizer.json: \"model\" is missing"));
  Write("tokenizer_config.json", R"({"add_bos_token": "yes"})");
  EXPECT_THAT(std::string(Error().message()),
              HasSubstr("tokenizer_config.json: add_bos_token: expected true or false"));
  fs::remove(folder_ / "tokenizer.json");
  fs::remove(folder_ / "tokenizer_config.json");
  Write("tokenizer.model", "IQ== 0\n");
  EXPECT_THAT(std::string(Error().message()),
              HasSubstr("tokenizer.model: not a sentencepiece model"));
}

std::string HashOf(const std::vector<int32_t>& ids) {
  static_assert(std::endian::native == std::endian::little);
  return Sha256Hex({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)});
}

struct WikiText {
  const char* split;
  size_t count;
  const char* sha256;  // of the ids as little-endian int32
};

// Python: sp = sentencepiece.SentencePieceProcessor("tokenizer.model") (version 0.2.3), then
// [sp.bos_id()] + sp.encode(text) with the text of common/text.h's WikiText protocol.
TEST(WikiTextIdsTest, LlamaAsThePythonPackage) {
  const fs::path folder = "../shared/tokenizers/llama";
  const fs::path data = "../shared/data/wikitext2";
  if (!fs::exists(folder) || !fs::exists(data)) {
    GTEST_SKIP() << "needs " << folder << " and " << data;
  }
  const auto tokenizer = LoadTokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 32000);
  for (const WikiText& expected :
       {WikiText{"valid", 299964,
                 "93d97a0c7eb230e37a2b554feae6e0bee6bd0c8bb1c9b1d91e16aadfbc395677"},
        WikiText{"test", 341469,
                 "9b69cd50dbe9e29f2d40f999f103fbe4b0ff014ec4f9fdae094c687ca1af6f92"}}) {
    const auto ids =
        TokenizeFile(**tokenizer, data / ("wiki." + std::string(expected.split) + ".raw"),
                     TextFormat::kWikiText);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(ids->size(), expected.count);
    EXPECT_EQ(HashOf(*ids), expected.sha256);
  }
}

TEST(WikiTextIdsTest, SmolLm2AsTransformers) {
  const char* folder = std::getenv("ESPALIER_SMOLLM2");
  if (folder == nullptr) {
    GTEST_SKIP() << "set ESPALIER_SMOLLM2 to the folder that scripts/get-smollm2 made";
  }
  const fs::path goldens = "../shared/goldens/smollm2.json";
  const fs::path data = "../shared/data/wikitext2";
  if (!fs::exists(goldens) || !fs::exists(data)) {
    GTEST_SKIP() << "needs " << goldens << " and " << data;
  }
  const nlohmann::json tokens = nlohmann::json::parse(*ReadFile(goldens))["tokens"];
  const auto tokenizer = LoadTokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 49152);
  for (const std::string split : {"valid", "test"}) {
    const auto ids =
        TokenizeFile(**tokenizer, data / ("wiki." + split + ".raw"), TextFormat::kWikiText);
    ASSERT_TRUE(ids.ok()) << ids.status();
    const nlohmann::json& expected = tokens[split];
    EXPECT_EQ(ids->size(), expected["count"]);
    EXPECT_EQ(HashOf(*ids), expected["sha256_of_le_int32"]);
    EXPECT_EQ(nlohmann::json(std::vector<int32_t>(ids->begin(), ids->begin() + 16)),
              expected["first"]);
  }
}

}  // namespace
}  // namespace espalier
