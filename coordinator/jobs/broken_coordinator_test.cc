// The simulation notices coordinators that are broken: each of these is the real brain with one
// bug.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "coordinator/jobs/testing/sabotage.h"
#include "coordinator/jobs/testing/simulation.h"

namespace espalier {
namespace {

using ::testing::IsEmpty;
using testing_fakes::MakeSabotage;
using testing_fakes::SimulationOptions;
using testing_fakes::SimulationResult;

// Each is noticed in the first histories; the rarest, an answer in the moment after a lease, in
// every twentieth or so.
constexpr uint64_t kSeeds = 500;

enum class Cluster { kFaulty, kQuiet };

struct Bug {
  std::string name;
  MakeSabotage sabotage = nullptr;
  std::string noticed;  // the invariant that it breaks
  Cluster cluster = Cluster::kFaulty;

  friend void PrintTo(const Bug& bug, std::ostream* out) { *out << bug.name; }
};

SimulationResult History(uint64_t seed, MakeSabotage sabotage, Cluster cluster) {
  SimulationOptions options{.seed = seed, .workers = 3, .jobs = 2, .sabotage = sabotage};
  if (cluster == Cluster::kFaulty) {
    options.fault_rate = 0.1;
    options.crash_rate = 0.01;
  }
  return testing_fakes::Simulate(options);
}

class BrokenCoordinatorTest : public ::testing::TestWithParam<Bug> {};

TEST_P(BrokenCoordinatorTest, IsNoticed) {
  const Bug& bug = GetParam();
  std::set<std::string> others;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::vector<std::string> violations = History(seed, bug.sabotage, bug.cluster).violations;
    if (violations.empty()) continue;
    // One bug may break several invariants; which one first is a matter of the history.
    if (violations.front().find(bug.noticed) == std::string::npos) {
      others.insert(violations.front().substr(violations.front().find(": ") + 2));
      continue;
    }
    RecordProperty("seed", std::to_string(seed));
    return;
  }
  FAIL() << "not within " << kSeeds << " seeds; but: " << ::testing::PrintToString(others);
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, BrokenCoordinatorTest,
    ::testing::Values(
        Bug{"WithoutLeases", testing_fakes::WithoutLeases,
            "a worker was kept although its lease is over"},
        Bug{"TakesAnswersOfTheDead", testing_fakes::TakesAnswersOfTheDead,
            "an answer was taken from a worker whose lease is over"},
        Bug{"IgnoresEpochs", testing_fakes::IgnoresEpochs,
            "an answer was taken under an old epoch"},
        Bug{"TakesAnswersTwice", testing_fakes::TakesAnswersTwice,
            "an answer was taken to a task that is not open"},
        Bug{"AcknowledgesBeforeCommit", testing_fakes::AcknowledgesBeforeCommit,
            "an answer was acknowledged before it was stored"},
        Bug{"StoresNotAll", testing_fakes::StoresNotAll,
            "an answer was acknowledged that is not stored"},
        Bug{"StoresTwice", testing_fakes::StoresTwice, "one answer was stored twice"},
        Bug{"LosesTheLastWrite", testing_fakes::LosesTheLastWrite,
            "an acknowledged answer was lost: its task came again"},
        Bug{"ForgetsItsLife", testing_fakes::ForgetsItsLife, "an epoch came again"},
        Bug{"CountsCandidatesTwice", testing_fakes::CountsCandidatesTwice, "counts twice"},
        // Where workers are lost now and then, so is the task that is waited for in vain.
        Bug{"LosesAnswers", testing_fakes::LosesAnswers, "a job did not end", Cluster::kQuiet}),
    [](const auto& info) { return info.param.name; });

// What is noticed above are the bugs and not the histories.
TEST(WholeCoordinatorTest, BreaksNothingInTheSameHistories) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    ASSERT_THAT(History(seed, nullptr, Cluster::kFaulty).violations, IsEmpty()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace espalier
