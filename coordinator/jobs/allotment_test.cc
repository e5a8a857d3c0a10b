#include "coordinator/jobs/allotment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr size_t kMany = 1000;

std::set<WorkerKey> Workers(WorkerKey last) {
  std::set<WorkerKey> workers;
  for (WorkerKey worker = 1; worker <= last; ++worker) workers.insert(worker);
  return workers;
}

std::vector<Allotted> Alone(WorkerKey last) {
  std::vector<Allotted> replicas;
  for (WorkerKey worker = 1; worker <= last; ++worker) {
    replicas.push_back({.workers = {worker}, .claim = std::nullopt});
  }
  return replicas;
}

std::map<size_t, int> Counts(const std::vector<Allotted>& replicas) {
  std::map<size_t, int> counts;
  for (const Allotted& replica : replicas) ++counts[*replica.claim];
  return counts;
}

TEST(AllotmentTest, OneClaimHasAllWorkers) {
  const std::vector<Claim> claims = {{.demand = kMany, .eligible = Workers(3)}};
  EXPECT_EQ(Counts(Allot(claims, Alone(3))), (std::map<size_t, int>{{0, 3}}));
}

TEST(AllotmentTest, EqualClaimsShareEquallyAndTheOldestHasTheOddOne) {
  const Claim claim{.demand = kMany, .eligible = Workers(5)};
  EXPECT_EQ(Counts(Allot({claim, claim}, Alone(5))), (std::map<size_t, int>{{0, 3}, {1, 2}}));
}

TEST(AllotmentTest, AClaimOfTwoJobsHasTwiceTheShare) {
  Claim two{.jobs = 2, .demand = kMany, .eligible = Workers(6)};
  const Claim one{.demand = kMany, .eligible = Workers(6)};
  EXPECT_EQ(Counts(Allot({two, one}, Alone(6))), (std::map<size_t, int>{{0, 4}, {1, 2}}));
}

TEST(AllotmentTest, AHigherPriorityHasAllThatItCanUse) {
  Claim high{.priority = 1, .demand = kMany, .eligible = {2, 3}};
  const Claim low{.demand = kMany, .eligible = Workers(3)};
  EXPECT_THAT(Allot({high, low}, Alone(3)),
              UnorderedElementsAre(Allotted{{2}, 0}, Allotted{{3}, 0}, Allotted{{1}, 1}));
  high.demand = 1;
  EXPECT_EQ(Counts(Allot({high, low}, Alone(3))), (std::map<size_t, int>{{0, 1}, {1, 2}}));
}

TEST(AllotmentTest, WhatNobodyWantsGoesBeyondTheDemand) {
  const Claim claim{.demand = 1, .eligible = Workers(3)};
  EXPECT_EQ(Counts(Allot({claim}, Alone(3))), (std::map<size_t, int>{{0, 3}}));
}

TEST(AllotmentTest, ANewClaimTakesFromTheOneThatHasMost) {
  const std::vector<Allotted> before = {{{1}, 0}, {{2}, 0}, {{3}, 0}, {{4}, 1}};
  const Claim claim{.demand = kMany, .eligible = Workers(4)};
  const std::vector<Allotted> after = Allot({claim, claim, claim}, before);
  EXPECT_EQ(Counts(after), (std::map<size_t, int>{{0, 2}, {1, 1}, {2, 1}}));
  EXPECT_EQ(std::count(after.begin(), after.end(), before[3]), 1);
}

TEST(AllotmentTest, ReplicasOfSeveralStagesAreMadeOfWorkersThatFit) {
  const Claim pairs{.stages = 2, .demand = kMany, .eligible = {1, 3, 4, 5}};
  EXPECT_THAT(Allot({pairs}, Alone(5)), ElementsAre(Allotted{{1, 3}, 0}, Allotted{{4, 5}, 0}));
}

TEST(AllotmentTest, AReplicaThatCannotBeCompletedBreaksNoOther) {
  const std::vector<Allotted> before = {{{1}, 1}, {{2}, std::nullopt}};
  const Claim triple{.priority = 1, .stages = 3, .demand = kMany, .eligible = Workers(2)};
  const Claim single{.demand = kMany, .eligible = Workers(2)};
  EXPECT_THAT(Allot({triple, single}, before),
              UnorderedElementsAre(Allotted{{1}, 1}, Allotted{{2}, 1}));
}

TEST(AllotmentTest, AWorkerThatIsNotEligibleAnyMoreLeaves) {
  const Claim claim{.demand = kMany, .eligible = {2}};
  EXPECT_THAT(Allot({claim}, {{{1}, 0}, {{2}, 0}}), ElementsAre(Allotted{{2}, 0}));
  EXPECT_THAT(Allot({}, {{{1}, std::nullopt}}), IsEmpty());
}

// Random claims, one after the other, as jobs come and go.
class AllotmentPropertyTest : public ::testing::TestWithParam<unsigned> {
 protected:
  std::mt19937 random_{GetParam()};

  int Draw(int first, int last) { return std::uniform_int_distribution<int>(first, last)(random_); }

  std::vector<Claim> DrawClaims(WorkerKey workers) {
    std::vector<Claim> claims(Draw(0, 5));
    for (Claim& claim : claims) {
      claim.priority = Draw(0, 2);
      claim.jobs = Draw(1, 3);
      claim.stages = Draw(0, 2) == 0 ? Draw(2, 3) : 1;
      claim.demand = Draw(0, 2) == 0 ? Draw(0, 3) : kMany;
      for (WorkerKey worker = 1; worker <= workers; ++worker) {
        if (Draw(0, 5) > 0) claim.eligible.insert(worker);
      }
    }
    std::stable_sort(claims.begin(), claims.end(),
                     [](const Claim& a, const Claim& b) { return a.priority > b.priority; });
    return claims;
  }
};

TEST_P(AllotmentPropertyTest, IsSoundCompleteAndStable) {
  const auto workers = static_cast<WorkerKey>(Draw(0, 12));
  std::vector<Allotted> replicas = Alone(workers);
  for (int round = 0; round < 5; ++round) {
    const std::vector<Claim> claims = DrawClaims(workers);
    for (Allotted& replica : replicas) {
      const size_t claim = Draw(0, 5);
      replica.claim = claim < claims.size() ? std::optional<size_t>(claim) : std::nullopt;
    }
    std::vector<Allotted> after = Allot(claims, replicas);
    std::set<WorkerKey> used;
    for (const Allotted& replica : after) {
      const Claim& claim = claims[*replica.claim];
      ASSERT_EQ(static_cast<int64_t>(replica.workers.size()), claim.stages);
      for (const WorkerKey worker : replica.workers) {
        ASSERT_EQ(claim.eligible.count(worker), 1u);
        ASSERT_TRUE(used.insert(worker).second) << "worker " << worker << " is in two replicas";
      }
    }
    // Nobody could be served by those that are left over.
    for (const Claim& claim : claims) {
      int64_t left = 0;
      for (const WorkerKey worker : claim.eligible) left += used.count(worker) == 0 ? 1 : 0;
      ASSERT_LT(left, claim.stages);
    }
    for (WorkerKey worker = 1; worker <= workers; ++worker) {
      if (used.count(worker) == 0) after.push_back({.workers = {worker}, .claim = std::nullopt});
    }
    std::vector<Allotted> again = Allot(claims, after);
    std::erase_if(after, [](const Allotted& replica) { return !replica.claim.has_value(); });
    ASSERT_THAT(again, ::testing::UnorderedElementsAreArray(after));
    replicas = after;
    for (WorkerKey worker = 1; worker <= workers; ++worker) {
      if (used.count(worker) == 0) replicas.push_back({.workers = {worker}, .claim = {}});
    }
  }
}

// With interchangeable workers and replicas of one, the shares are those of progressive filling.
TEST_P(AllotmentPropertyTest, SharesAreMaxMinFair) {
  const auto workers = static_cast<WorkerKey>(Draw(1, 12));
  std::vector<Claim> claims = DrawClaims(workers);
  for (Claim& claim : claims) {
    claim.priority = 0;
    claim.stages = 1;
    claim.eligible = Workers(workers);
  }
  std::map<size_t, int> counts = Counts(Allot(claims, Alone(workers)));
  bool all_met = true;
  for (size_t c = 0; c < claims.size(); ++c) {
    all_met = all_met && static_cast<size_t>(counts[c]) >= claims[c].demand;
  }
  if (all_met) return;
  for (size_t poor = 0; poor < claims.size(); ++poor) {
    if (static_cast<size_t>(counts[poor]) >= claims[poor].demand) continue;
    for (size_t rich = 0; rich < claims.size(); ++rich) {
      if (rich == poor || counts[rich] == 0) continue;
      // Giving one of the rich one's to the poor one would only turn the tables.
      EXPECT_GE(counts[poor] * claims[rich].jobs, (counts[rich] - 1) * claims[poor].jobs)
          << poor << " has " << counts[poor] << ", " << rich << " has " << counts[rich];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AllotmentPropertyTest, ::testing::Range(0u, 100u));

}  // namespace
}  // namespace espalier
