// A coordinator whose files let it down: it dies in the middle of a system call, its disk is full,
// bits of its store change.
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Without reaping it.
bool HasEnded(const Process& process) {
  siginfo_t info{};
  return waitid(P_PID, process.pid(), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

class StoreFaultsTest : public FaultTest {
 protected:
  using Environment = std::map<std::string, std::string>;

  // The programs' environment, with faulty calls on files below `folder`.
  Environment Faulty(const fs::path& folder, const std::string& variable,
                     const std::string& value) const {
    Environment environment = environment_;
    environment["LD_PRELOAD"] = ESPALIER_FAULTY_CALLS;
    environment["ESPALIER_FAULTY_FOLDER"] = folder.string();
    environment[variable] = value;
    return environment;
  }
  // Until the coordinator says this; false when it ended before, or the job did.
  bool AwaitMessage(const FollowedJob& job, const std::string& message, size_t log_read = 0) const {
    while (coordinator_->err().find(message, log_read) == std::string::npos) {
      if (job.ended() || HasEnded(*coordinator_)) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
};

// A sanitizer's runtime must be loaded before anything else.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ESPALIER_SKIP_WITH_SANITIZERS() GTEST_SKIP() << "nothing can be preloaded"
#else
#define ESPALIER_SKIP_WITH_SANITIZERS() static_cast<void>(0)
#endif

// Whatever it was about to write, sync, make or move; half of a write is done.
TEST_F(StoreFaultsTest, KilledInTheMiddleOfACall) {
  ESPALIER_SKIP_WITH_SANITIZERS();
  StartCluster(2);
  int faults = 0;
  for (int jobs = 1; faults < kFaults && !HasFailure(); ++jobs) {
    const std::string name = absl::StrCat("disturbed-", jobs);
    JobSpec spec = Spec(name);
    spec.seed += jobs;
    const std::map<std::string, std::string> expected = Undisturbed(spec);
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    while (faults < kFaults && !job->ended()) {
      KillCoordinator();
      // A small number: while it starts. A large one: in the search, or when it makes the result.
      const uint64_t call = 1 + Random(faults % 2 == 0 ? 40 : 1000);
      coordinator_ = std::make_unique<Process>(
          CoordinatorCommand(), Faulty(folder_, "ESPALIER_KILL_AT_CALL", absl::StrCat(call)));
      while (!job->ended() && !HasEnded(*coordinator_)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      if (!HasEnded(*coordinator_)) break;
      EXPECT_EQ(coordinator_->Wait(), -SIGKILL) << coordinator_->err();
      ++faults;
      StartCoordinator();
    }
    ExpectResult(*job, expected, name);
  }
  EXPECT_EQ(faults, kFaults);
}

TEST_F(StoreFaultsTest, FullDisk) {
  ESPALIER_SKIP_WITH_SANITIZERS();
  const fs::path full = folder_ / "full";
  environment_ = Faulty(state(), "ESPALIER_FULL_DISK", full.string());
  StartCluster(2);
  int faults = 0;
  for (int jobs = 1; faults < kFaults && !HasFailure(); ++jobs) {
    const std::string name = absl::StrCat("disturbed-", jobs);
    JobSpec spec = Spec(name);
    spec.seed += jobs;
    const std::map<std::string, std::string> expected = Undisturbed(spec);
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    while (faults < kFaults &&
           AwaitInstant(*job, *RandomMember().proxy, FaultProxy::Direction::kToTarget, 3000)) {
      const size_t log_read = coordinator_->err().size();
      ASSERT_TRUE(WriteFileAtomically(full, "").ok());
      const bool noticed = AwaitMessage(*job, "nothing goes on until this is stored", log_read);
      fs::remove(full);
      if (!noticed) break;
      ++faults;
      EXPECT_TRUE(AwaitMessage(*job, "the store can be written again", log_read));
    }
    ExpectResult(*job, expected, name);
  }
  EXPECT_EQ(faults, kFaults);
}

// It is refused by the name of the file, or nothing comes of it.
TEST_F(StoreFaultsTest, BitFlips) {
  StartCluster(2);
  int faults = 0;
  for (int jobs = 1; faults < kFaults && !HasFailure(); ++jobs) {
    const std::string name = absl::StrCat("disturbed-", jobs);
    JobSpec spec = Spec(name);
    spec.seed += jobs;
    const std::map<std::string, std::string> expected = Undisturbed(spec);
    const std::unique_ptr<FollowedJob> job = Submit(spec);
    while (faults < kFaults &&
           AwaitInstant(*job, *RandomMember().proxy, FaultProxy::Direction::kToTarget, 3000)) {
      KillCoordinator();
      const fs::path copy = folder_ / "copy";
      fs::remove_all(copy);
      fs::copy(state(), copy);
      const fs::path log = state() / "coordinator.db-wal";
      const bool in_log = Random(4) == 0 && fs::exists(log) && fs::file_size(log) > 0;
      const fs::path file = in_log ? log : state() / "coordinator.db";
      std::string bytes = *ReadFile(file);
      bytes[Random(bytes.size())] ^= static_cast<char>(1 << Random(8));
      ASSERT_TRUE(WriteFileAtomically(file, bytes).ok());
      ++faults;
      coordinator_ = std::make_unique<Process>(CoordinatorCommand(), environment_);
      if (AwaitMessage(*job, "stored results were taken up")) continue;
      if (job->ended()) break;
      EXPECT_EQ(coordinator_->Wait(), 1) << coordinator_->err();
      EXPECT_THAT(coordinator_->err(), HasSubstr("coordinator.db"));
      fs::remove_all(state());
      fs::copy(copy, state());
      StartCoordinator();
    }
    ExpectResult(*job, expected, name);
  }
  EXPECT_EQ(faults, kFaults);
}

}  // namespace
}  // namespace espalier
