#include "coordinator/search/population.h"

#include <limits>

#include "gtest/gtest.h"

namespace espalier::search {
namespace {

constexpr double kFailed = std::numeric_limits<double>::infinity();

std::vector<Candidate> Candidates(int64_t generation, int64_t count) {
  std::vector<Candidate> candidates(count);
  for (int64_t i = 0; i < count; ++i) candidates[i].id = {.generation = generation, .slot = i};
  return candidates;
}

std::vector<CandidateId> Ids(const Population& population) {
  std::vector<CandidateId> ids;
  for (const ScoredCandidate& survivor : population.survivors()) {
    ids.push_back(survivor.candidate.id);
  }
  return ids;
}

TEST(PopulationTest, KeepsTheBestOfAllGenerations) {
  Population population(3);
  population.Add(Candidates(0, 4), {5, 2, kFailed, 4});
  EXPECT_EQ(Ids(population), (std::vector<CandidateId>{{0, 1}, {0, 3}, {0, 0}}));
  population.Add(Candidates(1, 2), {3, 9});
  EXPECT_EQ(Ids(population), (std::vector<CandidateId>{{0, 1}, {1, 0}, {0, 3}}));
  EXPECT_EQ(population.survivors()[1].fitness, 3);
}

TEST(PopulationTest, TiesGoToTheEarlierCandidate) {
  Population population(2);
  population.Add(Candidates(0, 3), {1, 1, 1});
  population.Add(Candidates(1, 1), {1});
  EXPECT_EQ(Ids(population), (std::vector<CandidateId>{{0, 0}, {0, 1}}));
}

TEST(PopulationTest, FailedCandidatesSurviveOnlyWhenNothingElseDoes) {
  Population population(2);
  population.Add(Candidates(0, 2), {kFailed, kFailed});
  EXPECT_EQ(Ids(population), (std::vector<CandidateId>{{0, 0}, {0, 1}}));
  population.Add(Candidates(1, 2), {kFailed, 8});
  EXPECT_EQ(Ids(population), (std::vector<CandidateId>{{1, 1}, {0, 0}}));
}

TEST(PopulationTest, RemembersWhatWasSeen) {
  Population population(1);
  EXPECT_FALSE(population.Seen("a"));
  population.MarkSeen("a");
  EXPECT_TRUE(population.Seen("a"));
  EXPECT_FALSE(population.Seen("b"));
}

}  // namespace
}  // namespace espalier::search
