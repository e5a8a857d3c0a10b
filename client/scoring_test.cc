#include "client/scoring.h"

#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/testing/small_model.h"
#include "common/model_folder.h"
#include "common/subnet.h"
#include "common/text.h"
#include "common/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/service/testing/fake_engine.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class ScoringTest : public ::testing::Test {
 protected:
  ScoringTest() {
    folder_ = NewTestFolder("scoring");
    WriteSmallModel(folder_ / "model");
    WriteTestFile(folder_ / "text.txt", SomeText(5000));
    options_.model = (folder_ / "model").string();
    options_.text = (folder_ / "text.txt").string();
    options_.sequence_length = 100;
    options_.sequences = 7;
  }

  absl::StatusOr<Score> Run() {
    return ScoreModel(
        options_, FakeEngineLoader(control_),
        [this](int64_t done, int64_t total, double) {
          progress_.push_back({done, total});
        },
        cancelled_);
  }

  // The fake engine's own loss of the text's sequence `i`, by another way.
  double ExpectedNll(const Subnet& subnet, int64_t i) {
    const auto tokenizer = LoadTokenizer(options_.model);
    const auto ids = TokenizeFile(**tokenizer, options_.text, options_.format);
    const int64_t length = options_.sequence_length;
    return FakeNll(subnet, SmallConfig(), ids->data() + i * length, length, false) /
           static_cast<double>(length - 1);
  }

  std::filesystem::path folder_;
  ScoringOptions options_;
  std::shared_ptr<FakeEngineControl> control_ = std::make_shared<FakeEngineControl>();
  std::atomic<bool> cancelled_ = false;
  std::vector<std::pair<int64_t, int64_t>> progress_;
};

TEST_F(ScoringTest, DenseModel) {
  const auto score = Run();
  ASSERT_TRUE(score.ok()) << score.status();
  const Subnet dense = Subnet::Dense(SmallConfig());
  double sum = 0;
  ASSERT_EQ(score->nll_per_sequence.size(), 7);
  for (int64_t i = 0; i < 7; ++i) {
    EXPECT_DOUBLE_EQ(score->nll_per_sequence[i], ExpectedNll(dense, i)) << i;
    sum += ExpectedNll(dense, i);
  }
  EXPECT_DOUBLE_EQ(score->perplexity, std::exp(sum / 7));
  EXPECT_EQ(score->parameters, DenseParameters(SmallConfig()));
  EXPECT_EQ(score->ratio, 1);
  EXPECT_GT(score->tokens_per_second, 0);
}

TEST_F(ScoringTest, MasksChangeLossAndSize) {
  Subnet subnet = Subnet::Dense(SmallConfig());
  for (int64_t c = 0; c < 100; ++c) subnet.layers[2].mlp.Set(c, false);
  WriteTestFile(folder_ / "masks.json", MasksToJson(subnet));
  options_.masks = (folder_ / "masks.json").string();
  const auto score = Run();
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_DOUBLE_EQ(score->nll_per_sequence[3], ExpectedNll(subnet, 3));
  EXPECT_EQ(score->parameters, CountParameters(subnet, SmallConfig()));
  EXPECT_LT(score->ratio, 1);
}

TEST_F(ScoringTest, DefaultsAreTheModelsLengthAndTheWholeText) {
  options_.sequence_length = 0;
  options_.sequences = 0;
  const auto score = Run();
  ASSERT_TRUE(score.ok()) << score.status();
  EXPECT_EQ(score->sequence_length, SmallConfig().max_position_embeddings);
  const auto bytes = static_cast<int64_t>(std::filesystem::file_size(folder_ / "text.txt"));
  EXPECT_EQ(static_cast<int64_t>(score->nll_per_sequence.size()),
            bytes / SmallConfig().max_position_embeddings);
}

TEST_F(ScoringTest, ProgressReachesTheTotal) {
  ASSERT_TRUE(Run().ok());
  EXPECT_EQ(progress_.front(), (std::pair<int64_t, int64_t>(0, 7)));
  EXPECT_EQ(progress_.back(), (std::pair<int64_t, int64_t>(7, 7)));
}

TEST_F(ScoringTest, EveryInputErrorComesBeforeTheModelIsLoaded) {
  options_.sequences = 51;
  EXPECT_THAT(std::string(Run().status().message()), HasSubstr("text.txt"));
  options_.sequences = 7;
  options_.masks = (folder_ / "missing.json").string();
  EXPECT_THAT(std::string(Run().status().message()), HasSubstr("missing.json"));
  options_.masks.clear();
  std::filesystem::remove(folder_ / "model/tokenizer.json");
  EXPECT_THAT(std::string(Run().status().message()), HasSubstr("tokenizer"));
  EXPECT_EQ(control_->counts().loads, 0);
}

TEST_F(ScoringTest, CancellationEndsIt) {
  cancelled_ = true;
  EXPECT_TRUE(absl::IsCancelled(Run().status()));
}

TEST(SequencesPerCallTest, KeepsCallsNearTheSameSize) {
  EXPECT_EQ(SequencesPerCall(2048), 4);
  EXPECT_EQ(SequencesPerCall(512), 16);
  EXPECT_EQ(SequencesPerCall(100000), 1);
}

TEST(ScoreViewTest, TableAndJsonSayTheSame) {
  Score score;
  score.nll_per_sequence = {1.5, 2.5};
  score.perplexity = 7.389;
  score.parameters = 1234567;
  score.ratio = 0.7;
  score.sequence_length = 512;
  score.tokens_per_second = 1000;
  EXPECT_EQ(ScoreTable(score),
            "perplexity  7.39\n"
            "parameters  1,234,567 (70.0% of the dense model)\n"
            "text        2 sequences of 512 tokens\n"
            "speed       1,000 tokens/s\n");
  EXPECT_EQ(ScoreToJson(score).dump(),
            R"({"perplexity":7.389,"nll_per_sequence":[1.5,2.5],"parameters":1234567,)"
            R"("ratio":0.7,"sequences":2,"sequence_length":512,"tokens_per_second":1000.0})");
}

}  // namespace
}  // namespace espalier
