// Workers that are killed when the search is over: in reformation, evaluation or export.
#include <chrono>
#include <csignal>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

// How many stages the model has, and the phase.
class LastPhasesTest : public FaultTest,
                       public ::testing::WithParamInterface<std::tuple<int, v1::JobPhase>> {};

TEST_P(LastPhasesTest, AKilledWorkerChangesNothing) {
  const auto [stages, phase] = GetParam();
  stages_ = stages;
  StartCluster(stages + 1);
  JobSpec spec = Spec("undisturbed");
  spec.search.generations = 2;
  const std::map<std::string, std::string> expected = Undisturbed(spec);
  for (int fault = 1; fault <= kFaults && !HasFailure(); ++fault) {
    const std::string name = absl::StrCat("disturbed-", fault);
    spec.output = (results() / name).string();
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    ASSERT_TRUE(job->WaitForPhase(phase));
    std::this_thread::sleep_for(std::chrono::microseconds(Random(30'000)));
    Member& member = RandomMember();
    member.process->Signal(SIGKILL);
    EXPECT_EQ(member.process->Wait(), -SIGKILL);
    StartProcess(member);
    ExpectResult(*job, expected, name);
  }
}

INSTANTIATE_TEST_SUITE_P(Phases, LastPhasesTest,
                         ::testing::Combine(::testing::Values(1, 2),
                                            ::testing::Values(v1::JOB_PHASE_REFORM,
                                                              v1::JOB_PHASE_EXPORT)));

}  // namespace
}  // namespace espalier
