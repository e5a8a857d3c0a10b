#include "coordinator/service/preparation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/file.h"
#include "common/sha256.h"
#include "coordinator/service/testing/tiny_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(PreparationTest, DrawsTheSequencesOfTheSeed) {
  const fs::path folder = MakeTinyFolder("draws");
  JobSpec spec = TinyFolderJob(folder, "result");
  const auto first = PrepareTexts(spec);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->job.spec.sequence_length, 16);
  EXPECT_EQ(first->job.calibration.count, 8);
  EXPECT_EQ(first->job.search.count, 2);
  EXPECT_EQ(first->job.eval.count, 60 * 5 / 16);
  EXPECT_EQ(first->data_sets.size(), 3u);
  for (const auto& [hash, sequences] : first->data_sets) EXPECT_EQ(sequences->hash, hash);
  EXPECT_EQ(first->job.text_hash, Sha256Hex(*ReadFile(folder / "train.txt")));
  EXPECT_EQ(PrepareTexts(spec)->job.search.hash, first->job.search.hash);
  spec.seed = 5;
  EXPECT_NE(PrepareTexts(spec)->job.search.hash, first->job.search.hash);
  EXPECT_EQ(PrepareTexts(spec)->job.eval.hash, first->job.eval.hash);
}

TEST(PreparationTest, WithoutHeldOutTextEvaluationIsOnTheSearchSequences) {
  JobSpec spec = TinyFolderJob(MakeTinyFolder("not_held_out"), "result");
  spec.eval_text.path.clear();
  const auto preparation = PrepareTexts(spec);
  ASSERT_TRUE(preparation.ok()) << preparation.status();
  EXPECT_EQ(preparation->job.eval.hash, preparation->job.search.hash);
  EXPECT_EQ(preparation->job.eval_text_hash, "");
}

TEST(PreparationTest, ATokenizerOfAnotherModelIsRefused) {
  const fs::path folder = MakeTinyFolder("other_tokenizer");
  std::string config = *ReadFile(folder / "model" / "config.json");
  config.replace(config.find("\"vocab_size\": 32"), 16, "\"vocab_size\": 20");
  std::ofstream(folder / "model" / "config.json") << config;
  const auto preparation = PrepareTexts(TinyFolderJob(folder, "result"));
  EXPECT_EQ(preparation.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(preparation.status().message()), HasSubstr("vocabulary has 20 tokens"));
}

TEST(PreparationTest, PathsOfASubmissionBecomeAbsolute) {
  const fs::path folder = MakeTinyFolder("relative");
  JobSpec spec = TinyFolderJob(folder, "result");
  spec.model = fs::relative(folder / "model");
  spec.output = fs::relative(folder) / "x" / ".." / "result";
  const auto checked = CheckSubmission(JobSpecToYaml(spec));
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_EQ(checked->model, (folder / "model").lexically_normal().string());
  EXPECT_EQ(checked->output, (folder / "result").lexically_normal().string());
}

}  // namespace
}  // namespace espalier
