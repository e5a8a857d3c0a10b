// Workers that are killed when the search is over, with the reformation or the export in hand.
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

// How many stages the model has, and the phase.
class LastPhasesTest : public FaultTest,
                       public ::testing::WithParamInterface<std::tuple<int, v1::JobPhase>> {
 protected:
  void ThrottleAll(int64_t bytes_per_second) {  // 0: not any more
    for (Member& member : members_) member.proxy->Throttle(bytes_per_second);
  }
};

// Many are too late, or hit a worker that has nothing in hand: only those count that the
// coordinator had to give to another one.
TEST_P(LastPhasesTest, AKilledWorkerChangesNothing) {
  constexpr int kMostJobs = 15 * kFaults;
  const auto [stages, phase] = GetParam();
  stages_ = stages;
  StartCluster(stages + 1);
  JobSpec spec = Spec("undisturbed");
  spec.search.generations = 2;
  const std::map<std::string, std::string> expected = Undisturbed(spec);
  int faults = 0;
  for (int jobs = 1; jobs <= kMostJobs && faults < kFaults && !HasFailure(); ++jobs) {
    const std::string name = absl::StrCat("disturbed-", jobs);
    spec.output = (results() / name).string();
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    ASSERT_TRUE(job->WaitForPhase(v1::JOB_PHASE_REFORM));
    if (phase == v1::JOB_PHASE_EXPORT) {
      ThrottleAll(1'000'000);  // so that there is something to hit
      ASSERT_TRUE(job->WaitForPhase(phase));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(Random(5'000)));
    const size_t log_read = coordinator_->err().size();
    Member& member = RandomMember();
    member.process->Signal(SIGKILL);
    EXPECT_EQ(member.process->Wait(), -SIGKILL);
    ThrottleAll(0);
    StartProcess(member);
    ExpectResult(*job, expected, name);
    const std::string log = coordinator_->err().substr(log_read);
    if (log.find("was lost while it worked on it") != std::string::npos) ++faults;
  }
  EXPECT_EQ(faults, kFaults);
}

INSTANTIATE_TEST_SUITE_P(Phases, LastPhasesTest,
                         ::testing::Combine(::testing::Values(1, 2),
                                            ::testing::Values(v1::JOB_PHASE_REFORM,
                                                              v1::JOB_PHASE_EXPORT)));

}  // namespace
}  // namespace espalier
