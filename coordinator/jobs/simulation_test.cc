// The brain under simulated clusters: whatever goes wrong, results are those of a quiet run.
#include "coordinator/jobs/testing/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"

namespace espalier {
namespace {

using ::testing::IsEmpty;
using testing_fakes::SimulatedJob;
using testing_fakes::SimulationOptions;
using testing_fakes::SimulationResult;

SimulationResult Quiet(int workers, int jobs) {
  return testing_fakes::Simulate({.seed = 0, .workers = workers, .jobs = jobs});
}

// Whatever went wrong: nothing broke, and every job came to what it comes to in a quiet run.
void ExpectSameResults(const SimulationResult& run, const SimulationResult& quiet) {
  ASSERT_THAT(run.violations, IsEmpty());
  for (size_t j = 0; j < quiet.jobs.size(); ++j) {
    ASSERT_EQ(run.jobs[j].state, JobState::kSucceeded) << run.jobs[j].error;
    ASSERT_EQ(run.jobs[j].population, quiet.jobs[j].population);
    ASSERT_EQ(run.jobs[j].subnet_json, quiet.jobs[j].subnet_json);
  }
}

TEST(SimulationTest, QuietRunsAgreeForAnyNumberOfWorkers) {
  const SimulationResult one = Quiet(1, 2);
  ASSERT_THAT(one.violations, IsEmpty());
  for (const SimulatedJob& job : one.jobs) {
    ASSERT_EQ(job.state, JobState::kSucceeded) << job.error;
    EXPECT_EQ(std::count(job.population.begin(), job.population.end(), '\n'), 3 * 7);
    EXPECT_THAT(job.subnet_json, ::testing::HasSubstr("\"model\""));
  }
  EXPECT_NE(one.jobs[0].population, one.jobs[1].population);
  for (const int workers : {2, 3, 7}) {
    const SimulationResult many = Quiet(workers, 2);
    EXPECT_THAT(many.violations, IsEmpty());
    for (size_t j = 0; j < one.jobs.size(); ++j) {
      EXPECT_EQ(many.jobs[j].population, one.jobs[j].population) << workers << " workers";
      EXPECT_EQ(many.jobs[j].subnet_json, one.jobs[j].subnet_json) << workers << " workers";
    }
  }
}

constexpr uint64_t kShards = 5;

// How many seeds each test has, all shards together: 500, or what ESPALIER_SIMULATION_SEEDS says.
uint64_t Seeds() {
  const char* text = std::getenv("ESPALIER_SIMULATION_SEEDS");
  uint64_t seeds = 500;
  if (text != nullptr && (!absl::SimpleAtoi(text, &seeds) || seeds < kShards)) {
    ADD_FAILURE() << "ESPALIER_SIMULATION_SEEDS=" << text << " is no number of at least "
                  << kShards;
    return kShards;
  }
  return seeds;
}

class FaultySimulationTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  // The seeds of this shard.
  const uint64_t first_ = Seeds() * GetParam() / kShards;
  const uint64_t end_ = Seeds() * (GetParam() + 1) / kShards;

  // That enough went wrong to say anything; of a handful of seeds, nothing is to be expected.
  void ExpectMoreThan(uint64_t hundredths_per_seed, uint64_t count) const {
    if (end_ - first_ < 100) return;
    EXPECT_GT(100 * count, hundredths_per_seed * (end_ - first_));
  }
};

// Losses, stops, duplicates, stale epochs, errors, malformed answers.
TEST_P(FaultySimulationTest, ResultsAreThoseOfAQuietRun) {
  const SimulationResult quiet = Quiet(1, 2);
  uint64_t faults = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2};
    options.workers = static_cast<int>(1 + seed % 5);
    options.fault_rate = 0.02 * static_cast<double>(1 + seed % 7);
    const SimulationResult run = testing_fakes::Simulate(options);
    faults += run.faults;
    ASSERT_NO_FATAL_FAILURE(ExpectSameResults(run, quiet)) << "seed " << seed;
  }
  ExpectMoreThan(500, faults);
}

// The search with windows and repaired candidates, on whole models and in two stages, with a
// coordinator that dies.
TEST_P(FaultySimulationTest, AllocationsAreThoseOfAQuietRun) {
  const SimulationResult quiet =
      testing_fakes::Simulate({.seed = 0, .workers = 1, .jobs = 2, .allocation = true});
  ASSERT_THAT(quiet.violations, IsEmpty());
  for (const SimulatedJob& job : quiet.jobs) {
    ASSERT_EQ(job.state, JobState::kSucceeded) << job.error;
    EXPECT_THAT(job.population, ::testing::HasSubstr("\"sensitivity\""));
    EXPECT_THAT(job.population, ::testing::HasSubstr("\"finalist\""));
  }
  uint64_t faults = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2, .allocation = true};
    options.stages = 1 + static_cast<int>(seed % 2);
    options.workers = static_cast<int>(options.stages + seed % 4);
    options.fault_rate = 0.01 * static_cast<double>(seed % 7);
    options.crash_rate = 0.002 * static_cast<double>(seed % 3);
    const SimulationResult run = testing_fakes::Simulate(options);
    faults += run.faults;
    ASSERT_NO_FATAL_FAILURE(ExpectSameResults(run, quiet)) << "seed " << seed;
  }
  ExpectMoreThan(200, faults);
}

// Jobs with two sizes, each of which has its own log and result, written once whatever dies.
TEST_P(FaultySimulationTest, SizesAreThoseOfAQuietRun) {
  const SimulationResult quiet =
      testing_fakes::Simulate({.seed = 0, .workers = 1, .jobs = 2, .allocation = true, .sizes = 2});
  ASSERT_THAT(quiet.violations, IsEmpty());
  uint64_t crashes = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2, .allocation = true, .sizes = 2};
    options.workers = static_cast<int>(1 + seed % 3);
    options.fault_rate = 0.01 * static_cast<double>(seed % 5);
    options.crash_rate = 0.002 * static_cast<double>(1 + seed % 3);
    const SimulationResult run = testing_fakes::Simulate(options);
    crashes += run.crashes;
    ASSERT_NO_FATAL_FAILURE(ExpectSameResults(run, quiet)) << "seed " << seed;
  }
  ExpectMoreThan(50, crashes);
}

// A cancelled job ends as such (unless it was faster), and the other one is not disturbed.
TEST_P(FaultySimulationTest, ACancelledJobDisturbsNoOther) {
  const SimulationResult quiet = Quiet(1, 2);
  uint64_t cancelled = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2, .cancel_one = true};
    options.workers = static_cast<int>(1 + seed % 3);
    options.fault_rate = 0.03;
    const SimulationResult run = testing_fakes::Simulate(options);
    ASSERT_THAT(run.violations, IsEmpty()) << "seed " << seed;
    ASSERT_NE(run.jobs[0].state, JobState::kFailed) << "seed " << seed << run.jobs[0].error;
    cancelled += run.jobs[0].state == JobState::kCancelled ? 1 : 0;
    ASSERT_EQ(run.jobs[1].state, JobState::kSucceeded) << "seed " << seed;
    ASSERT_EQ(run.jobs[1].population, quiet.jobs[1].population) << "seed " << seed;
  }
  ExpectMoreThan(20, cancelled);
}

// The coordinator dies, too: at any step, before or after it was stored.
TEST_P(FaultySimulationTest, ACoordinatorThatDiesLosesNothing) {
  const SimulationResult quiet = Quiet(1, 2);
  uint64_t crashes = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2};
    options.workers = static_cast<int>(1 + seed % 4);
    options.fault_rate = 0.01 * static_cast<double>(seed % 5);
    options.crash_rate = 0.002 * static_cast<double>(1 + seed % 10);
    const SimulationResult run = testing_fakes::Simulate(options);
    crashes += run.crashes;
    ASSERT_NO_FATAL_FAILURE(ExpectSameResults(run, quiet)) << "seed " << seed;
  }
  ExpectMoreThan(200, crashes);
}

// Models in two stages: replicas form, lose a stage or their link, and form anew; the results are
// those of one worker that holds everything.
TEST_P(FaultySimulationTest, StagesChangeNothing) {
  const SimulationResult quiet = Quiet(1, 2);
  uint64_t faults = 0;
  uint64_t crashes = 0;
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 2, .stages = 2};
    options.workers = static_cast<int>(2 + seed % 5);
    options.fault_rate = 0.01 * static_cast<double>(seed % 7);
    options.crash_rate = 0.001 * static_cast<double>(seed % 10);
    const SimulationResult run = testing_fakes::Simulate(options);
    faults += run.faults;
    crashes += run.crashes;
    ASSERT_NO_FATAL_FAILURE(ExpectSameResults(run, quiet)) << "seed " << seed;
  }
  ExpectMoreThan(500, faults);
  ExpectMoreThan(50, crashes);
}

// Jobs with models and priorities of their own share the workers, are paused and resumed, and lose
// workers that are drained; some of them search among the same candidates.
TEST_P(FaultySimulationTest, SharingChangesNothing) {
  uint64_t faults = 0;
  uint64_t crashes = 0;
  std::map<bool, SimulationResult> quiet;
  for (const bool same_search : {false, true}) {
    quiet[same_search] =
        testing_fakes::Simulate({.workers = 1, .jobs = 3, .same_search = same_search});
  }
  for (uint64_t seed = first_; seed < end_; ++seed) {
    SimulationOptions options{.seed = seed, .jobs = 3};
    options.workers = static_cast<int>(1 + seed % 6);
    options.same_search = seed % 2 == 0;
    options.other_models = seed % 3 == 0;
    options.other_texts = seed % 3 == 1;
    options.priorities = seed % 5 < 2;
    options.interfere = seed % 7 > 1;
    options.fault_rate = 0.01 * static_cast<double>(seed % 4);
    options.crash_rate = 0.001 * static_cast<double>(seed % 6);
    const SimulationResult run = testing_fakes::Simulate(options);
    faults += run.faults;
    crashes += run.crashes;
    ASSERT_THAT(run.violations, IsEmpty()) << "seed " << seed;
    for (size_t j = 0; j < run.jobs.size(); ++j) {
      ASSERT_EQ(run.jobs[j].state, JobState::kSucceeded) << "seed " << seed << run.jobs[j].error;
      ASSERT_EQ(run.jobs[j].population, quiet[options.same_search].jobs[j].population)
          << "seed " << seed;
    }
  }
  ExpectMoreThan(200, faults);
  ExpectMoreThan(50, crashes);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FaultySimulationTest, ::testing::Range(uint64_t{0}, kShards));

}  // namespace
}  // namespace espalier
