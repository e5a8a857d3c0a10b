// Workers that die or stand still.
#include <csignal>

#include "gtest/gtest.h"
#include "tests/faults/fault_fixture.h"

namespace espalier {
namespace {

class WorkerFaultsTest : public FaultTest {};

TEST_F(WorkerFaultsTest, Killed) {
  StartCluster(2);
  Disturb([this](Member& member) {
    member.process->Signal(SIGKILL);
    EXPECT_EQ(member.process->Wait(), -SIGKILL);
    StartProcess(member);
  });
}

TEST_F(WorkerFaultsTest, StoppedLongerThanItsLease) {
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "1000"};
  StartCluster(3);
  Disturb([this](Member& member) {
    const size_t log_read = coordinator_->err().size();
    member.process->Signal(SIGSTOP);
    AwaitLeaseOver(log_read);
    member.process->Signal(SIGCONT);
    AwaitAttached(member);
  });
}

// The model on two workers, each a stage: losing one dissolves the replica.
class StageFaultsTest : public FaultTest {
 protected:
  StageFaultsTest() { stages_ = 2; }
};

TEST_F(StageFaultsTest, Killed) {
  StartCluster(2);
  Disturb([this](Member& member) {
    member.process->Signal(SIGKILL);
    EXPECT_EQ(member.process->Wait(), -SIGKILL);
    StartProcess(member);
  });
}

TEST_F(StageFaultsTest, StoppedLongerThanItsLease) {
  coordinator_flags_ = {"--heartbeat-ms", "100", "--lease-ms", "1000"};
  StartCluster(2);
  Disturb([this](Member& member) {
    const size_t log_read = coordinator_->err().size();
    member.process->Signal(SIGSTOP);
    AwaitLeaseOver(log_read);
    member.process->Signal(SIGCONT);
    AwaitAttached(member);
  });
}

}  // namespace
}  // namespace espalier
