// Networks that break, on the way between a worker and the coordinator.
#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

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

}  // namespace
}  // namespace espalier
