// What goes wrong with NCCL, on the fake of worker/cuda/fake_nccl.h. What goes right is in
// conformance_test.cc.
#include "worker/transport/nccl_transport.h"

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/cuda/fake_nccl.h"
#include "worker/transport/testing/nccl_replica.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kBytes = 1000;

class NcclTransportTest : public ::testing::Test {
 protected:
  NcclTransportTest() { Heal(); }
  ~NcclTransportTest() override {
    replica_.reset();
    Heal();
    // Whatever went wrong, nothing is left.
    EXPECT_EQ(TheFakeNccl().pairs, 0);
    EXPECT_EQ(TheFakeNccl().running, 0);
    EXPECT_EQ(TheFakeNccl().allocated_bytes, 0);
  }

  static void Heal() {
    FakeNccl& fake = TheFakeNccl();
    fake.never_sets_up = false;
    fake.set_up_fails = false;
    fake.transfers_stall = false;
    fake.transfers_fail = false;
    fake.free_bytes = int64_t{1} << 40;
  }

  void Start(int stages, std::chrono::milliseconds patience = std::chrono::seconds(60)) {
    replica_ = std::make_unique<NcclReplica>(
        stages, CudaModule(espalier_cuda_module()), [&](NcclOptions* options) {
          options->set_up_patience = patience;
          options->transfer_patience = patience;
          options->on_unusable = [this](const std::string& reason) {
            MutexLock lock(&mutex_);
            unusable_.push_back(reason);
          };
        });
  }
  Transport& stage(int rank) { return replica_->stage(rank); }

  absl::Status Send(int from, int to, MessageTag tag) {
    const std::string bytes(kBytes, 'x');
    return stage(from).Send(to, tag, bytes.data(), kBytes, nullptr);
  }
  absl::Status Receive(int at, int from, MessageTag tag,
                       const std::atomic<bool>* cancelled = nullptr) {
    std::string bytes(kBytes, '\0');
    absl::Status status = stage(at).Receive(from, tag, bytes.data(), kBytes, cancelled);
    if (status.ok()) {
      EXPECT_EQ(bytes, std::string(kBytes, 'x'));
    }
    return status;
  }
  // Sends until the link's end is noticed.
  absl::Status SendUntilLost(int from, int to) {
    absl::Status status;
    for (int64_t i = 0; status.ok(); ++i) {
      const char byte = 'x';
      status = stage(from).Send(to, {1000, i}, &byte, 1, nullptr);
    }
    return status;
  }
  static void AwaitRunningTransfer() {
    while (TheFakeNccl().running == 0) std::this_thread::yield();
  }
  std::vector<std::string> unusable() {
    MutexLock lock(&mutex_);
    return unusable_;
  }

  std::unique_ptr<NcclReplica> replica_;
  Mutex mutex_;
  std::vector<std::string> unusable_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(NcclTransportTest, GivesDevicePointers) {
  Start(2);
  EXPECT_EQ(stage(0).memory(), Transport::Memory::kDevice);
}

TEST_F(NcclTransportTest, WhatIsDroppedIsNeverTransferred) {
  Start(2);
  const int64_t before = TheFakeNccl().transfers;
  for (int64_t i = 0; i < 5; ++i) ASSERT_TRUE(Send(0, 1, {1, i}).ok());
  ASSERT_TRUE(Send(0, 1, {2, 0}).ok());
  ASSERT_TRUE(Receive(1, 0, {2, 0}).ok());
  EXPECT_EQ(TheFakeNccl().transfers, before + 1);
}

TEST_F(NcclTransportTest, ACancelledReceiveTakesNothingAndSpoilsNothing) {
  Start(2);
  const std::atomic<bool> cancelled = true;
  EXPECT_EQ(Receive(1, 0, {1, 0}, &cancelled).code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  ASSERT_TRUE(Send(0, 1, {2, 0}).ok());
  EXPECT_TRUE(Receive(1, 0, {2, 0}).ok());
  EXPECT_EQ(TheFakeNccl().pairs, 2);
}

// Nobody waits in NCCL for a receiver that has not come.
TEST_F(NcclTransportTest, NoTransferBeginsBeforeItIsAccepted) {
  Start(2);
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  ASSERT_TRUE(Send(0, 1, {1, 1}).ok());
  EXPECT_EQ(TheFakeNccl().running, 0);
  EXPECT_EQ(TheFakeNccl().pairs, 0);
}

TEST_F(NcclTransportTest, AStageThatDiesInATransferIsUnavailable) {
  Start(2);
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  ASSERT_TRUE(Receive(1, 0, {1, 0}).ok());
  TheFakeNccl().transfers_stall = true;
  ASSERT_TRUE(Send(0, 1, {1, 1}).ok());
  std::thread receiver([&] {
    const absl::Status status = Receive(1, 0, {1, 1});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("link"));
  });
  AwaitRunningTransfer();
  replica_->Kill(0);
  receiver.join();
  EXPECT_EQ(SendUntilLost(0, 1).code(), absl::StatusCode::kAborted);
  EXPECT_THAT(unusable(), IsEmpty());
}

TEST_F(NcclTransportTest, AReceiverThatDiesInATransferIsUnavailable) {
  Start(2);
  TheFakeNccl().transfers_stall = true;
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  std::thread receiver([&] {
    EXPECT_EQ(Receive(1, 0, {1, 0}).code(), absl::StatusCode::kAborted);
  });
  AwaitRunningTransfer();
  replica_->Kill(1);
  receiver.join();
  EXPECT_EQ(SendUntilLost(0, 1).code(), absl::StatusCode::kUnavailable);
}

TEST_F(NcclTransportTest, OwnAbortEndsATransfer) {
  Start(2);
  TheFakeNccl().transfers_stall = true;
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  std::thread receiver([&] {
    EXPECT_EQ(Receive(1, 0, {1, 0}).code(), absl::StatusCode::kAborted);
  });
  AwaitRunningTransfer();
  stage(1).Abort();
  receiver.join();
}

TEST_F(NcclTransportTest, ATransferThatTakesTooLongIsUnavailableOnBothSides) {
  Start(2, std::chrono::milliseconds(2000));  // enough for the first one on a busy machine
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  ASSERT_TRUE(Receive(1, 0, {1, 0}).ok());
  TheFakeNccl().transfers_stall = true;
  ASSERT_TRUE(Send(0, 1, {1, 1}).ok());
  const absl::Status status = Receive(1, 0, {1, 1});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing happened for 2000 ms"));
  EXPECT_EQ(SendUntilLost(0, 1).code(), absl::StatusCode::kUnavailable);
  // It has worked before.
  EXPECT_THAT(unusable(), IsEmpty());
}

TEST_F(NcclTransportTest, ASetUpThatNeverEndsIsUnavailableAndReported) {
  Start(2, std::chrono::milliseconds(50));
  TheFakeNccl().never_sets_up = true;
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  EXPECT_EQ(Receive(1, 0, {1, 0}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(SendUntilLost(0, 1).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(unusable(), ::testing::Not(IsEmpty()));
}

// Only one side sees the failure itself; the other one is told.
TEST_F(NcclTransportTest, AFailureOfNcclReachesTheOtherSideWithItsReason) {
  Start(2);
  TheFakeNccl().set_up_fails = true;
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  const absl::Status received = Receive(1, 0, {1, 0});
  const absl::Status sent = SendUntilLost(0, 1);
  for (const absl::Status& status : {received, sent}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("NCCL between stages"), HasSubstr("no network interface")));
  }
  EXPECT_THAT(unusable(), ::testing::Not(IsEmpty()));
}

TEST_F(NcclTransportTest, AFailureOfOneLinkIsNoneOfTheOthers) {
  Start(3);
  ASSERT_TRUE(Send(0, 1, {1, 0}).ok());
  ASSERT_TRUE(Receive(1, 0, {1, 0}).ok());
  TheFakeNccl().transfers_fail = true;
  ASSERT_TRUE(Send(1, 2, {1, 0}).ok());
  EXPECT_EQ(Receive(2, 1, {1, 0}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(SendUntilLost(1, 2).code(), absl::StatusCode::kUnavailable);
  TheFakeNccl().transfers_fail = false;
  ASSERT_TRUE(Send(0, 1, {1, 1}).ok());
  EXPECT_TRUE(Receive(1, 0, {1, 1}).ok());
}

TEST_F(NcclTransportTest, WithoutDeviceMemoryAMessageIsNotSentAndTheLinkStands) {
  Start(2);
  TheFakeNccl().free_bytes = kBytes - 1;
  EXPECT_EQ(Send(0, 1, {1, 0}).code(), absl::StatusCode::kResourceExhausted);
  TheFakeNccl().free_bytes = kBytes;
  ASSERT_TRUE(Send(0, 1, {2, 0}).ok());
  EXPECT_TRUE(Receive(1, 0, {2, 0}).ok());
}

}  // namespace
}  // namespace espalier
