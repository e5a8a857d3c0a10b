// Networks that break, on the way between a worker and the coordinator.
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Direction = FaultProxy::Direction;

class NetworkFaultsTest : public FaultTest {};

TEST_F(NetworkFaultsTest, Reset) {
  StartCluster(2);
  Disturb([this](Member& member) {
    member.proxy->Reset();
    AwaitAttached(member);
  });
}

TEST_F(NetworkFaultsTest, CutAfterSomeBytes) {
  StartCluster(2);
  Disturb([this](Member& member) {
    const auto direction = Random(2) == 0 ? Direction::kToTarget : Direction::kToClient;
    member.proxy->CutAfter(direction, static_cast<int64_t>(1 + Random(300)));
    AwaitAttached(member);
  });
}

TEST_F(NetworkFaultsTest, HalfClosed) {
  StartCluster(2);
  Disturb([this](Member& member) {
    member.proxy->HalfClose(Random(2) == 0 ? Direction::kToTarget : Direction::kToClient);
    AwaitAttached(member);
  });
}

TEST_F(NetworkFaultsTest, PartitionedLongerThanTheLease) {
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "1000"};
  StartCluster(3);
  Disturb([this](Member& member) {
    const size_t log_read = coordinator_->err().size();
    member.proxy->Hold();
    AwaitLeaseOver(log_read);
    member.proxy->Release();
    AwaitAttached(member);
  });
}

// A router that forgot the connection: neither end is told.
TEST_F(NetworkFaultsTest, Forgotten) {
  keepalive_ = std::chrono::milliseconds(300);
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "1000"};
  StartCluster(3);
  Disturb([this](Member& member) {
    member.proxy->Freeze();
    AwaitAttached(member);
  });
}

TEST_F(NetworkFaultsTest, Slow) {
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "2000"};
  StartCluster(3);
  Disturb([this](Member& member) {
    member.proxy->Throttle(static_cast<int64_t>(1000 + Random(20'000)));
    const int64_t bytes = static_cast<int64_t>(1 + Random(1000));
    EXPECT_TRUE(member.proxy->WaitForBytes(Direction::kToTarget, bytes, Soon()));
    member.proxy->Throttle(0);
  });
}

// Heartbeats find their way past an upload that takes longer than a lease.
TEST_F(NetworkFaultsTest, ExportOverASlowLink) {
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "1000"};
  StartCluster(2);
  const std::map<std::string, std::string> expected = Undisturbed(Spec("undisturbed"));
  const std::unique_ptr<FollowedJob> job = Submit(Spec("disturbed"));
  ASSERT_TRUE(job->WaitForPhase(v1::JOB_PHASE_REFORM));
  for (const Member& member : members_) member.proxy->Throttle(150'000);
  ExpectResult(*job, expected, "disturbed");
  // Nobody was given up.
  EXPECT_THAT(coordinator_->err(), Not(HasSubstr("nothing was heard")));
}

// Clients that are cut off, or forgotten, again and again miss nothing.
class WatcherFaultsTest : public FaultTest {
 protected:
  void DisturbWatcher(const std::function<void(FaultProxy&)>& inject) {
    StartCluster(2);
    const absl::StatusOr<std::unique_ptr<FaultProxy>> way =
        FaultProxy::Start(coordinator_address());
    ASSERT_TRUE(way.ok()) << way.status();
    coordinator_for_clients_ = (*way)->address();
    DisturbJobs([&](FollowedJob& job) {
      // Events come to some hundred bytes each.
      if (!AwaitInstant(job, **way, Direction::kToClient, 2000)) return false;
      inject(**way);
      return true;
    });
  }
};

TEST_F(WatcherFaultsTest, Reset) {
  DisturbWatcher([](FaultProxy& way) { way.Reset(); });
}

TEST_F(WatcherFaultsTest, HalfClosed) {
  DisturbWatcher([this](FaultProxy& way) {
    way.HalfClose(Random(2) == 0 ? Direction::kToTarget : Direction::kToClient);
  });
}

TEST_F(WatcherFaultsTest, Forgotten) {
  keepalive_ = std::chrono::milliseconds(300);
  DisturbWatcher([](FaultProxy& way) { way.Freeze(); });
}

}  // namespace
}  // namespace espalier
