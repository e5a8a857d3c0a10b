// Reference values for SmolLM2-135M on WikiText-2, computed with transformers in float32.
//
// Needs the model (ESPALIER_SMOLLM2, a folder made by scripts/get-smollm2), the text and the
// values, which are not part of the repository; without them the tests are skipped, saying what is
// missing.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/file.h"
#include "common/sha256.h"
#include "common/subnet.h"
#include "common/text.h"
#include "common/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

constexpr char kGoldenFile[] = "../shared/goldens/smollm2.json";
constexpr char kTextFolder[] = "../shared/data/wikitext2";

// The most that a mean NLL may differ from the reference, relative. Both sides compute in float32
// in different orders of summation.
constexpr double kTolerance = 2e-5;

std::string Hash(const std::vector<int32_t>& ids) {
  static_assert(std::endian::native == std::endian::little);
  return Sha256Hex({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)});
}

class GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* needed : {kGoldenFile, kTextFolder}) {
      if (!std::filesystem::exists(needed)) GTEST_SKIP() << needed << " is not on this machine";
    }
    const char* model = std::getenv("ESPALIER_SMOLLM2");
    if (model == nullptr) {
      GTEST_SKIP() << "ESPALIER_SMOLLM2 is not set; scripts/get-smollm2 makes such a folder";
    }
    model_ = model;
    const absl::StatusOr<std::string> text = ReadFile(kGoldenFile);
    ASSERT_TRUE(text.ok()) << text.status();
    golden_ = nlohmann::json::parse(*text);
  }

  // All token ids of a split of the text.
  std::vector<int32_t> Tokens(const std::string& split) {
    const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(model_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    if (!tokenizer.ok()) return {};
    const std::filesystem::path file =
        std::filesystem::path(kTextFolder) / ("wiki." + split + ".raw");
    absl::StatusOr<std::vector<int32_t>> ids =
        TokenizeFile(**tokenizer, file, TextFormat::kWikiText);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return ids.value_or(std::vector<int32_t>{});
  }

  std::filesystem::path model_;
  nlohmann::json golden_;
};

class GoldenTokensTest : public GoldenTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(GoldenTokensTest, CountEndsAndHashAreTheReferences) {
  const nlohmann::json& golden = golden_["tokens"][GetParam()];
  const std::vector<int32_t> ids = Tokens(GetParam());
  ASSERT_EQ(ids.size(), golden["count"].get<size_t>());
  const auto first = golden["first"].get<std::vector<int32_t>>();
  const auto last = golden["last"].get<std::vector<int32_t>>();
  EXPECT_THAT(std::vector(ids.begin(), ids.begin() + first.size()),
              ::testing::ElementsAreArray(first));
  EXPECT_THAT(std::vector(ids.end() - last.size(), ids.end()), ::testing::ElementsAreArray(last));
  EXPECT_EQ(Hash(ids), golden["sha256_of_le_int32"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(Splits, GoldenTokensTest, ::testing::Values("valid", "test"),
                         [](const auto& info) { return info.param; });

class GoldenLossTest : public GoldenTest, public ::testing::WithParamInterface<std::string> {
 protected:
  const nlohmann::json* FindCase() const {
    for (const nlohmann::json& golden : golden_["cases"]) {
      if (golden["name"] == GetParam()) return &golden;
    }
    return nullptr;
  }
};

TEST_P(GoldenLossTest, EverySequencesLossIsTheReferences) {
  const nlohmann::json* golden = FindCase();
  ASSERT_NE(golden, nullptr) << kGoldenFile << " has no case " << GetParam();
  const auto expected = (*golden)["nll_per_sequence"].get<std::vector<double>>();
  const absl::StatusOr<TokenSequences> sequences =
      FirstSequences(Tokens("test"), (*golden)["sequence_length"].get<int64_t>(),
                     static_cast<int64_t>(expected.size()), "test");
  ASSERT_TRUE(sequences.ok()) << sequences.status();

  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Load(model_, EngineOptions{});
  ASSERT_TRUE(engine.ok()) << engine.status();
  const ModelConfig& config = (*engine)->config();
  Subnet subnet = Subnet::Dense(config);
  if (golden->contains("masks")) {
    const absl::StatusOr<Subnet> masked = SubnetFromJson(golden->dump(), config, kGoldenFile);
    ASSERT_TRUE(masked.ok()) << masked.status();
    subnet = *masked;
    EXPECT_EQ(CountParameters(subnet, config), (*golden)["parameters"].get<int64_t>());
  }
  const absl::StatusOr<std::vector<SequenceLoss>> losses = (*engine)->Evaluate(subnet, *sequences);
  ASSERT_TRUE(losses.ok()) << losses.status();

  ASSERT_EQ(losses->size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const SequenceLoss& loss = (*losses)[i];
    ASSERT_EQ(loss.predictions, sequences->sequence_length - 1);
    EXPECT_NEAR(loss.nll_sum / static_cast<double>(loss.predictions), expected[i],
                kTolerance * expected[i])
        << "sequence " << i;
  }
  const double perplexity = (*golden)["perplexity"].get<double>();
  EXPECT_NEAR(std::log(Perplexity(*losses)), std::log(perplexity), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenLossTest,
                         ::testing::Values("dense", "dense_512", "random_masks_90",
                                           "random_masks_97_drop_layer_20"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace espalier
