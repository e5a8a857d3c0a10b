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

// Between two looks at a process or a job.
constexpr std::chrono::milliseconds kLook{5};

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
      std::this_thread::sleep_for(kLook);
    }
    return true;
  }
  bool AwaitSomeInstant(const FollowedJob& job) {
    return AwaitInstant(job, *RandomMember().proxy, FaultProxy::Direction::kToTarget, 3000);
  }
  // Anywhere in the database and its write-ahead log.
  void FlipABit() {
    const fs::path database = state() / "coordinator.db";
    const fs::path log = state() / "coordinator.db-wal";
    const uint64_t in_database = fs::file_size(database);
    const uint64_t in_log = fs::exists(log) ? fs::file_size(log) : 0;
    const uint64_t at = Random(in_database + in_log);
    const fs::path file = at < in_database ? database : log;
    std::string bytes = *ReadFile(file);
    bytes[at < in_database ? at : at - in_database] ^= static_cast<char>(1 << Random(8));
    EXPECT_TRUE(WriteFileAtomically(file, bytes).ok());
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
  int kind = 0;
  DisturbJobs([&](FollowedJob& job) {
    KillCoordinator();
    // A small number: while it starts. A large one: in the search, or when it makes the result.
    const uint64_t call = 1 + Random(++kind % 2 == 0 ? 40 : 1000);
    coordinator_ = std::make_unique<Process>(
        CoordinatorCommand(), Faulty(folder_, "ESPALIER_KILL_AT_CALL", absl::StrCat(call)));
    while (!job.ended() && !HasEnded(*coordinator_)) std::this_thread::sleep_for(kLook);
    const bool died = HasEnded(*coordinator_);
    if (!died) coordinator_->Signal(SIGKILL);  // the job was faster; nothing is to die later
    EXPECT_EQ(coordinator_->Wait(), -SIGKILL) << coordinator_->err();
    StartCoordinator();
    return died;
  });
}

TEST_F(StoreFaultsTest, FullDisk) {
  ESPALIER_SKIP_WITH_SANITIZERS();
  const fs::path full = folder_ / "full";
  environment_ = Faulty(state(), "ESPALIER_FULL_DISK", full.string());
  StartCluster(2);
  DisturbJobs([&](FollowedJob& job) {
    if (!AwaitSomeInstant(job)) return false;
    const size_t log_read = coordinator_->err().size();
    EXPECT_TRUE(WriteFileAtomically(full, "").ok());
    const bool noticed = AwaitMessage(job, "nothing goes on until this is stored", log_read);
    fs::remove(full);
    if (!noticed) return false;
    EXPECT_TRUE(AwaitMessage(job, "the store can be written again", log_read));
    return true;
  });
}

// It is refused by the name of the file, or nothing comes of it: where nothing is stored, or where
// the write-ahead log was taken over already.
TEST_F(StoreFaultsTest, BitFlips) {
  StartCluster(2);
  int refusals = 0;
  DisturbJobs([&](FollowedJob& job) {
    if (!AwaitSomeInstant(job)) return false;
    KillCoordinator();
    const fs::path copy = folder_ / "copy";
    fs::remove_all(copy);
    fs::copy(state(), copy);
    FlipABit();
    coordinator_ = std::make_unique<Process>(CoordinatorCommand(), environment_);
    if (AwaitMessage(job, "stored results were taken up")) return true;
    if (!job.ended()) {
      ++refusals;
      EXPECT_EQ(coordinator_->Wait(), 1) << coordinator_->err();
      EXPECT_THAT(coordinator_->err(), HasSubstr("coordinator.db"));
      fs::remove_all(state());
      fs::copy(copy, state());
      StartCoordinator();
    }
    return true;
  });
  EXPECT_GE(refusals, kFaults / 4);
}

}  // namespace
}  // namespace espalier
