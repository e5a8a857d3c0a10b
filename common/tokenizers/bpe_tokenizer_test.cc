#include "common/tokenizers/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "common/file.h"
#include "common/tokenizers/bpe_model.h"

namespace espalier::tokenizers {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

json ReadTestJson(const std::string& name) {
  const absl::StatusOr<std::string> text = ReadFile("common/testdata/" + name);
  EXPECT_TRUE(text.ok()) << text.status();
  return json::parse(*text);
}

json BaseDocument() { return ReadTestJson("bpe/tokenizer.json"); }

// As make_tokenizer_goldens.py abridges a variant's model.
void ChangeModel(const json& changes, json& model) {
  for (const auto& [key, value] : changes.items()) {
    if (key == "added") {
      for (const auto& [token, id] : value.items()) model["vocab"][token] = id;
    } else if (key == "removed") {
      for (const json& token : value) model["vocab"].erase(token.get<std::string>());
    } else if (key != "merges") {
      model[key] = value;
    }
  }
  const std::string form = changes.value("merges", "");
  for (json& merge : model["merges"]) {
    if (form == "str" && merge.is_array()) {
      merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    } else if (form == "list" && merge.is_string()) {
      const std::string text = merge.get<std::string>();
      merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
    }
  }
}

TEST(BpeTokenizerTest, IdsAreThoseOfTheTokenizersPackage) {
  const json goldens = ReadTestJson("bpe_goldens.json");
  ASSERT_EQ(goldens["cases"].size(), 9u);
  std::set<std::string> forms;
  for (const json& golden : goldens["cases"]) {
    json document = BaseDocument();
    for (const auto& [key, value] : golden["members"].items()) {
      if (key == "model") {
        ChangeModel(value, document["model"]);
      } else {
        document[key] = value;
      }
    }
    forms.insert(document["model"]["merges"][0].type_name());
    const auto tokenizer = MakeBpeTokenizer(document, "tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << golden["name"] << tokenizer.status();
    for (size_t i = 0; i < goldens["strings"].size(); ++i) {
      const auto ids = (*tokenizer)->Encode(goldens["strings"][i].get<std::string>());
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(json(*ids), golden["ids"][i]) << golden["name"] << " " << goldens["strings"][i];
    }
  }
  EXPECT_THAT(forms, ElementsAre("array", "string"));
}

TEST(BpeTokenizerTest, VocabularySizeCountsAddedTokens) {
  json document = BaseDocument();
  EXPECT_EQ((*MakeBpeTokenizer(document, ""))->vocab_size(), 460);
  document["added_tokens"].push_back({{"id", 999}, {"content", "<|x|>"}});
  EXPECT_EQ((*MakeBpeTokenizer(document, ""))->vocab_size(), 1000);
}

TEST(BpeTokenizerTest, Gpt2ClassReplacesNormalizerAndPreTokenizer) {
  json document = BaseDocument();
  const auto gpt2 = MakeBpeTokenizer(document, "");
  document["pre_tokenizer"] = {{"type", "Whitespace"}};
  document["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_FALSE(MakeBpeTokenizer(document, "").ok());
  const auto replaced = MakeBpeTokenizer(document, "", {.gpt2_add_prefix_space = false});
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(*(*replaced)->Encode("The tree 12"), *(*gpt2)->Encode("The tree 12"));
  const auto prefixed = MakeBpeTokenizer(document, "", {.gpt2_add_prefix_space = true});
  EXPECT_EQ(*(*prefixed)->Encode("The tree 12"), *(*gpt2)->Encode(" The tree 12"));
}

TEST(BpeTokenizerTest, InvalidUtf8IsRefusedWithItsOffset) {
  const auto tokenizer = MakeBpeTokenizer(BaseDocument(), "");
  const absl::Status status = (*tokenizer)->Encode("abc\xFFxyz").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not UTF-8 at byte 3"));
}

// A quadratic merge would take minutes.
TEST(BpeTokenizerTest, AMillionBytesWithoutSpaces) {
  const auto tokenizer = MakeBpeTokenizer(BaseDocument(), "");
  std::string word;
  while (word.size() < 1'000'000) word += "branchesthetree";
  const auto ids = (*tokenizer)->Encode(word);
  ASSERT_TRUE(ids.ok());
  EXPECT_GT(ids->size(), 100'000u);
  EXPECT_TRUE((*tokenizer)->Encode(std::string(1'000'000, ' ')).ok());
  EXPECT_TRUE((*tokenizer)->Encode(std::string(1'000'000, '<')).ok());
}

TEST(BpeTokenizerTest, ThreadsShareOne) {
  const auto tokenizer = MakeBpeTokenizer(BaseDocument(), "");
  const std::vector<int32_t> expected = *(*tokenizer)->Encode("The gardener cuts the branch.");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        wrong[t] += *(*tokenizer)->Encode("The gardener cuts the branch.") == expected ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(wrong, ElementsAre(0, 0, 0, 0));
}

absl::Status ErrorOf(const std::string& member, const json& value) {
  json document = BaseDocument();
  document[json::json_pointer(member)] = value;
  return MakeBpeTokenizer(document, "tokenizer.json").status();
}

TEST(BpeTokenizerTest, UnsupportedPartsAreNamed) {
  const json byte_level = {{"type", "ByteLevel"}};
  const json digits = {{"type", "Digits"}};
  const std::vector<std::tuple<std::string, json, std::string>> cases = {
      {"/model/type", "WordPiece", "model: the type \"WordPiece\""},
      {"/model/dropout", 0.1, "model: dropout"},
      {"/model/continuing_subword_prefix", "##", "continuing_subword_prefix \"##\""},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix \"</w>\""},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/normalizer", {{"type", "NFKC"}}, "normalizer: the type \"NFKC\""},
      {"/normalizer",
       {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}},
       "normalizer.normalizers[0]: the type \"Lowercase\""},
      {"/pre_tokenizer", nullptr, "no pre_tokenizer"},
      {"/pre_tokenizer", {{"type", "Whitespace"}}, "pre_tokenizer: the type \"Whitespace\""},
      {"/pre_tokenizer", digits, "pre_tokenizer: the last step is not ByteLevel"},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {byte_level, digits}}},
       "pre_tokenizer.pretokenizers[1]: a step (\"Digits\") after ByteLevel"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"behavior", "Removed"}, {"pattern", {{"Regex", "a"}}}},
       "behavior \"Removed\""},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"String", "a"}}}},
       "pre_tokenizer.pattern: a pattern that is no Regex"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "\\h"}}}},
       "uses \"\\h\""},
      {"/post_processor", {{"type", "BertProcessing"}}, "the type \"BertProcessing\""},
      {"/added_tokens/0/lstrip", true, "added_tokens[0]: the token \"<|end|>\" has lstrip"},
      {"/added_tokens/0/single_word", true, "has single_word"},
  };
  for (const auto& [member, value, message] : cases) {
    const absl::Status status = ErrorOf(member, value);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << member << value;
    EXPECT_THAT(std::string(status.message()),
                AllOf(StartsWith("tokenizer.json: "), HasSubstr(message)));
  }
}

TEST(BpeTokenizerTest, MalformedPartsAreNamed) {
  const std::vector<std::tuple<std::string, json, std::string>> cases = {
      {"/model", nullptr, "\"model\" is missing"},
      {"/model", "x", "model: expected an object"},
      {"/model/vocab", json::array(), "model.vocab: expected an object"},
      {"/model/vocab/a", -1, "model.vocab.a: expected a token id"},
      {"/model/vocab/a", 1.5, "model.vocab.a: expected a token id"},
      {"/model/vocab/a", 2147483648, "model.vocab.a: expected a token id"},
      {"/model/merges", nullptr, "\"merges\" is missing"},
      {"/model/merges/3", "ab", "model.merges[3]: expected two tokens, got \"ab\""},
      {"/model/merges/3", "a b c", "model.merges[3]: expected two tokens"},
      {"/model/merges/3", {"a"}, "model.merges[3]: expected a merge of two tokens"},
      {"/model/merges/3", {"a", 1}, "model.merges[3]: expected a merge of two tokens"},
      {"/model/merges/3", "a nosuch", "not in the vocabulary"},
      {"/model/ignore_merges", 1, "model.ignore_merges: expected true or false"},
      {"/model/unk_token", "nosuch", "unk_token \"nosuch\" is not in the vocabulary"},
      {"/pre_tokenizer", "x", "pre_tokenizer: expected an object"},
      {"/pre_tokenizer/type", 1, "pre_tokenizer.type: expected a string"},
      {"/added_tokens", 1, "added_tokens: expected an array"},
      {"/added_tokens/1/content", "", "added_tokens[1]: the token is empty"},
      {"/added_tokens/1/id", "x", "added_tokens[1].id: expected a token id"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "\"single\" is missing"},
      {"/post_processor",
       {{"type", "TemplateProcessing"}, {"single", json::array()}},
       "must hold one Sequence"},
      {"/post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "x"}}}}}},
        {"special_tokens", json::object()}},
       "post_processor.special_tokens: \"x\" is missing"},
  };
  for (const auto& [member, value, message] : cases) {
    const absl::Status status = ErrorOf(member, value);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << member << value << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(StartsWith("tokenizer.json: "), HasSubstr(message)));
  }
}

TEST(BpeTokenizerTest, RecognisesConvertedSentencePiece) {
  json document = BaseDocument();
  EXPECT_FALSE(IsConvertedSentencePiece(document));
  EXPECT_FALSE(IsConvertedSentencePiece(json::object()));
  document["model"]["byte_fallback"] = true;
  EXPECT_TRUE(IsConvertedSentencePiece(document));
  EXPECT_TRUE(IsConvertedSentencePiece({{"model", {{"type", "Unigram"}}}}));
  EXPECT_TRUE(IsConvertedSentencePiece({{"pre_tokenizer", {{"type", "Metaspace"}}}}));
  EXPECT_TRUE(IsConvertedSentencePiece(
      {{"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}}}}}}}));
}

TEST(BpeModelTest, AlphabetIsGpt2s) {
  EXPECT_EQ(ByteCharacter('a'), "a");
  EXPECT_EQ(ByteCharacter(' '), "\xC4\xA0");   // Ġ
  EXPECT_EQ(ByteCharacter('\n'), "\xC4\x8A");  // Ċ
  EXPECT_EQ(ByteCharacter(0), "\xC4\x80");     // Ā
  EXPECT_EQ(ByteCharacter(0xAD), "\xC5\x83");  // Ń, the last
  EXPECT_EQ(ByteCharacter(0xFF), "\xC3\xBF");  // ÿ
  std::set<std::string> all;
  for (int byte = 0; byte < 256; ++byte) all.insert(ByteCharacter(static_cast<uint8_t>(byte)));
  EXPECT_EQ(all.size(), 256u);
}

}  // namespace
}  // namespace espalier::tokenizers
