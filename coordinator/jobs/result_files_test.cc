#include "coordinator/jobs/result_files.h"

#include <gtest/gtest.h>

#include <limits>

#include "coordinator/jobs/testing/fakes.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

ScoredCandidate Best() {
  ScoredCandidate best;
  best.candidate.id = {.generation = 2, .slot = 5};
  best.candidate.origin = Origin::kCrossover;
  best.candidate.subnet = Subnet::Dense(testing_fakes::TinyConfig());
  best.candidate.subnet.layers[1].mlp.Set(3, false);
  best.candidate.subnet.layers[1].attention[0].Set(0, false);
  best.candidate.fingerprint = Fingerprint(best.candidate.subnet);
  best.fitness = 12.5;
  return best;
}

TEST(ResultFilesTest, SubnetJsonHasMasksSizesAndProvenance) {
  const ModelConfig config = testing_fakes::TinyConfig();
  const PreparedJob job = testing_fakes::Prepared(testing_fakes::TinySpec(7, "/results/secret"));
  const ScoredCandidate best = Best();
  const std::string text = SubnetJson(job, std::string(64, 'a'), best);
  const auto subnet = SubnetFromJson(text, config, "subnet.json");
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  EXPECT_EQ(*subnet, best.candidate.subnet);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["layers"][1]["mlp_channels"], 11);
  EXPECT_EQ(json["layers"][1]["attention_pairs"], (std::vector<int>{1, 2}));
  EXPECT_EQ(json["parameters"], CountParameters(*subnet, config));
  const auto& provenance = json["provenance"];
  EXPECT_EQ(provenance["model"]["sha256"], std::string(64, 'a'));
  EXPECT_EQ(provenance["text"]["sha256"], job.text_hash);
  EXPECT_EQ(provenance["eval_text"]["sha256"], job.eval_text_hash);
  EXPECT_EQ(provenance["seed"], 7);
  EXPECT_EQ(provenance["candidate"]["origin"], "crossover");
  // The settings can be read back and run again.
  const auto spec = ParseJobSpec(provenance["spec"].get<std::string>(), "provenance");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->search.generations, job.spec.search.generations);
}

TEST(ResultFilesTest, SubnetJsonIsTheSameWhereverTheResultLies) {
  const auto write = [](const std::string& output) {
    JobSpec spec = testing_fakes::TinySpec(7, output);
    spec.name = output;
    return SubnetJson(testing_fakes::Prepared(spec), std::string(64, 'a'), Best());
  };
  EXPECT_EQ(write("/results/one"), write("/results/two"));
}

TEST(ResultFilesTest, AReportHasNoInfinities) {
  ResultView result;
  result.initial.perplexity = std::numeric_limits<double>::infinity();
  result.searched.perplexity = 7.5;
  result.warnings = {"layer 3 down_proj: nearly singular"};
  const auto json =
      nlohmann::json::parse(ReportJson(result, {{.phase = "load", .seconds = 1.5}},
                                       {{.layer = 3, .mlp = true, .before = 0.5, .after = 0.25}}));
  EXPECT_TRUE(json["initial"]["perplexity"].is_null());
  EXPECT_EQ(json["searched"]["perplexity"], 7.5);
  EXPECT_EQ(json["phase_seconds"]["load"], 1.5);
  EXPECT_EQ(json["reformation"][0]["linear"], "down");
  EXPECT_EQ(json["warnings"][0], "layer 3 down_proj: nearly singular");
}

}  // namespace
}  // namespace espalier
