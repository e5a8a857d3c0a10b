#include "coordinator/search/baseline_search.h"

#include <limits>

#include "common/testing/model_shapes.h"
#include "coordinator/search/baseline_subnet.h"
#include "coordinator/search/test_models.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using search::RandomScores;

JobSpec Job(SearchMethod method) {
  JobSpec spec;
  spec.method = method;
  spec.model = "m";
  spec.text.path = "t";
  spec.output = "o";
  spec.ratio = 0.7;
  spec.seed = 3;
  return *ResolveDefaults(spec, SmolLm2());
}

TEST(BaselineSearchTest, HasOneCandidate) {
  const ModelConfig config = SmolLm2();
  const UnitScores scores = RandomScores(config, 1);
  for (const SearchMethod method : {SearchMethod::kRandom, SearchMethod::kMagnitude,
                                    SearchMethod::kWandaSp, SearchMethod::kFlap}) {
    const auto search = MakeBaselineSearch(config, Job(method), scores);
    ASSERT_TRUE(search.ok()) << search.status();
    EXPECT_FALSE((*search)->Done());
    ASSERT_EQ((*search)->Generation().size(), 1u);
    const Candidate candidate = (*search)->Drawn().front();
    EXPECT_EQ(candidate.id, CandidateId{});
    EXPECT_EQ(candidate.origin, Origin::kInitial);
    EXPECT_EQ(candidate.fingerprint, Fingerprint(candidate.subnet));
    EXPECT_EQ(candidate.subnet, (*search)->initial());
    EXPECT_EQ(candidate.window, SequenceWindow{});
    EXPECT_FALSE((*search)->Report({1.0, 2.0}).ok());
    EXPECT_FALSE((*search)->Report({std::numeric_limits<double>::quiet_NaN()}).ok());
    ASSERT_TRUE((*search)->Report({12.5}).ok());
    EXPECT_TRUE((*search)->Done());
    EXPECT_EQ((*search)->best().fitness, 12.5);
    EXPECT_EQ((*search)->best().candidate.subnet, (*search)->initial());
    EXPECT_FALSE((*search)->Report({1.0}).ok());
  }
}

TEST(BaselineSearchTest, RandomFollowsTheSeedAndTheOthersTheScores) {
  const ModelConfig config = SmolLm2();
  const auto subnet = [&](SearchMethod method, uint64_t seed, uint64_t scores) {
    JobSpec spec = Job(method);
    spec.seed = seed;
    return (*MakeBaselineSearch(config, spec, RandomScores(config, scores)))->initial();
  };
  EXPECT_EQ(subnet(SearchMethod::kRandom, 1, 1), subnet(SearchMethod::kRandom, 1, 2));
  EXPECT_NE(subnet(SearchMethod::kRandom, 1, 1), subnet(SearchMethod::kRandom, 2, 1));
  EXPECT_EQ(subnet(SearchMethod::kFlap, 1, 1), subnet(SearchMethod::kFlap, 2, 1));
  EXPECT_NE(subnet(SearchMethod::kFlap, 1, 1), subnet(SearchMethod::kFlap, 1, 2));
  // Both compare within a module.
  EXPECT_EQ(subnet(SearchMethod::kMagnitude, 1, 1), subnet(SearchMethod::kWandaSp, 1, 1));
}

}  // namespace
}  // namespace espalier
