#include "coordinator/search/population_log.h"

#include <limits>

#include "coordinator/search/test_models.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

Candidate ExampleCandidate(const ModelConfig& config) {
  Candidate candidate{.id = {.generation = 3, .slot = 7},
                      .origin = Origin::kCrossover,
                      .parents = {{2, 5}, {0, 0}},
                      .subnet = Subnet::Dense(config),
                      .fingerprint = "c0ffee"};
  candidate.subnet.layers[1].mlp = Bitmask(config.intermediate_size);
  for (Bitmask& group : candidate.subnet.layers[1].attention) group = Bitmask(config.pairs());
  candidate.subnet.layers[2].mlp.Set(0, false);
  return candidate;
}

// d = 8, 2 groups of 2 queries, 4 pairs, 12 channels, V = 10: a layer has 2 * 4 pairs of 96 and 12
// channels of 24 parameters and two norms, 1072; fixed are 2 * 80 + 8. 2288 / 3384
// is 0.67612293144208038 (to 17 digits).
TEST(PopulationLogTest, HasExactlyTheseBytes) {
  const ModelConfig config = search::TinyModel();
  EXPECT_EQ(PopulationLogLine(ExampleCandidate(config), 8.25, config),
            "{\"generation\":3,\"slot\":7,\"origin\":\"crossover\",\"parents\":[[2,5],[0,0]],"
            "\"parameters\":2288,\"ratio\":0.6761229314420804,\"fitness\":8.25,"
            "\"fingerprint\":\"c0ffee\",\"pairs\":[8,0,8],\"channels\":[12,0,11]}\n");
}

TEST(PopulationLogTest, HasTheWindowOfACandidateThatIsNotScoredOnAllSequences) {
  const ModelConfig config = search::TinyModel();
  Candidate candidate = ExampleCandidate(config);
  candidate.window = {.first = 2, .count = 1};
  EXPECT_THAT(PopulationLogLine(candidate, 8.25, config),
              ::testing::HasSubstr("\"fitness\":8.25,\"window\":[2,1],\"fingerprint\""));
  candidate.window = {.first = 0, .count = 3};
  EXPECT_THAT(PopulationLogLine(candidate, 8.25, config), ::testing::HasSubstr("[0,3]"));
  candidate.window = {};
  EXPECT_THAT(PopulationLogLine(candidate, 8.25, config),
              ::testing::Not(::testing::HasSubstr("window")));
}

TEST(PopulationLogTest, FitnessReadsBackToTheSameDouble) {
  const ModelConfig config = search::TinyModel();
  const Candidate candidate = ExampleCandidate(config);
  for (double fitness : {1.0 / 3, 1e-300, 123456789.125, 5e300, 0.1 + 0.2}) {
    const auto line = nlohmann::json::parse(PopulationLogLine(candidate, fitness, config), nullptr,
                                            /*allow_exceptions=*/false);
    ASSERT_TRUE(line.is_object());
    EXPECT_EQ(line["fitness"].get<double>(), fitness);
  }
}

TEST(PopulationLogTest, AFailedCandidateHasNoFitness) {
  const ModelConfig config = search::TinyModel();
  const auto line = nlohmann::json::parse(
      PopulationLogLine(ExampleCandidate(config), std::numeric_limits<double>::infinity(), config),
      nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(line.is_object());
  EXPECT_TRUE(line["fitness"].is_null());
}

}  // namespace
}  // namespace espalier
