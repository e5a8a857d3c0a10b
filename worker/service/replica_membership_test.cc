// What the stages of a replica choose to exchange their activations by.
#include "worker/service/replica_membership.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/cuda/fake_nccl.h"

namespace espalier {
namespace {

using Memory = Transport::Memory;

StageGpu FakeGpu(const std::string& name) {
  return {.offer = {.gpu = name, .nccl = "2.28.3", .machine = "m"},
          .module = CudaModule(espalier_cuda_module())};
}
StageGpu NoGpu() { return {.offer = {.machine = "m", .reason = "it computes on cpu"}}; }

class ReplicaMembershipTest : public ::testing::Test {
 protected:
  ~ReplicaMembershipTest() override {
    members_.clear();
    TheFakeNccl().set_up_fails = false;
    EXPECT_EQ(TheFakeNccl().pairs, 0);
  }

  void Add(StageGpu gpu) {
    members_.push_back(
        std::make_unique<ReplicaMembership>(*StageServer::Start("127.0.0.1:0", std::nullopt),
                                            ConnectionSecurity(), kKeepalive, std::move(gpu)));
  }

  void Join(size_t stage, uint64_t epoch) {
    v1::JoinReplica join;
    join.set_epoch(epoch);
    join.set_stage(static_cast<int32_t>(stage));
    join.set_secret("s");
    for (const auto& member : members_) join.add_stage_addresses(member->address());
    members_[stage]->Join(join);
  }
  void JoinAll(uint64_t epoch) {
    for (size_t stage = 0; stage < members_.size(); ++stage) Join(stage, epoch);
  }

  std::shared_ptr<Transport> TransportOf(size_t stage, uint64_t epoch) {
    auto transport = members_[stage]->TransportOf(epoch, nullptr);
    EXPECT_TRUE(transport.ok()) << transport.status();
    return transport.ok() ? *transport : nullptr;
  }
  // The choices of all stages, in any order of asking.
  std::vector<Memory> Choices(uint64_t epoch) {
    std::vector<Memory> choices(members_.size());
    for (size_t stage = members_.size(); stage-- > 0;) {
      const auto transport = TransportOf(stage, epoch);
      if (transport != nullptr) choices[stage] = transport->memory();
    }
    return choices;
  }

  // From stage 0 to stage 1.
  absl::Status Exchange(uint64_t epoch) {
    const std::string sent = "activations";
    std::string received(sent.size(), '\0');
    const auto bytes = static_cast<int64_t>(sent.size());
    const auto from = TransportOf(0, epoch);
    const auto to = TransportOf(1, epoch);
    const absl::Status status = from->Send(1, {1, 0}, sent.data(), bytes, nullptr);
    if (!status.ok()) return status;
    const absl::Status arrived = to->Receive(0, {1, 0}, received.data(), bytes, nullptr);
    if (arrived.ok()) {
      EXPECT_EQ(received, sent);
    }
    return arrived;
  }

  std::vector<std::unique_ptr<ReplicaMembership>> members_;
};

TEST_F(ReplicaMembershipTest, AGpuForEveryStageMeansNccl) {
  for (const char* gpu : {"a", "b", "c"}) Add(FakeGpu(gpu));
  JoinAll(1);
  EXPECT_THAT(Choices(1), ::testing::Each(Memory::kDevice));
  EXPECT_TRUE(Exchange(1).ok());
}

TEST_F(ReplicaMembershipTest, OneStageWithoutAGpuMeansHostMemoryForAll) {
  Add(FakeGpu("a"));
  Add(NoGpu());
  Add(FakeGpu("c"));
  JoinAll(1);
  EXPECT_THAT(Choices(1), ::testing::Each(Memory::kHost));
  EXPECT_TRUE(Exchange(1).ok());
}

TEST_F(ReplicaMembershipTest, AStageWithoutAGpuWaitsForNobody) {
  Add(NoGpu());
  Add(NoGpu());
  Join(0, 1);
  EXPECT_EQ(TransportOf(0, 1)->memory(), Memory::kHost);
}

TEST_F(ReplicaMembershipTest, ASharedGpuMeansHostMemory) {
  Add(FakeGpu("a"));
  Add(FakeGpu("a"));
  JoinAll(1);
  EXPECT_THAT(Choices(1), ::testing::Each(Memory::kHost));
}

TEST_F(ReplicaMembershipTest, TheChoiceIsMadeOnceForAnEpochAndAnewForTheNext) {
  Add(FakeGpu("a"));
  Add(FakeGpu("b"));
  JoinAll(1);
  const auto first = TransportOf(0, 1);
  EXPECT_EQ(TransportOf(0, 1), first);
  JoinAll(2);
  EXPECT_EQ(TransportOf(0, 1), nullptr);
  EXPECT_NE(TransportOf(0, 2), first);
  char byte = 0;
  EXPECT_EQ(first->Receive(1, {1, 0}, &byte, 1, nullptr).code(), absl::StatusCode::kAborted);
}

// The job then goes on in a new replica, and must not lose that one too.
TEST_F(ReplicaMembershipTest, AfterNcclFailedTheNextReplicaUsesHostMemory) {
  Add(FakeGpu("a"));
  Add(FakeGpu("b"));
  JoinAll(1);
  TheFakeNccl().set_up_fails = true;
  EXPECT_EQ(Exchange(1).code(), absl::StatusCode::kUnavailable);
  JoinAll(2);
  EXPECT_THAT(Choices(2), ::testing::Each(Memory::kHost));
  EXPECT_TRUE(Exchange(2).ok());
}

TEST_F(ReplicaMembershipTest, WaitingForTheOthersEndsWithTheTaskAndWithTheReplica) {
  Add(FakeGpu("a"));
  Add(FakeGpu("b"));
  Join(0, 1);  // stage 1 never hears of it
  const std::atomic<bool> cancelled = true;
  EXPECT_EQ(members_[0]->TransportOf(1, &cancelled).status().code(), absl::StatusCode::kCancelled);
  std::thread waiting([&] {
    const absl::Status status = members_[0]->TransportOf(1, nullptr).status();
    EXPECT_TRUE(status.ok() || absl::IsAborted(status)) << status;  // OK: it asked after the end
  });
  members_[0]->Leave();
  waiting.join();
}

TEST_F(ReplicaMembershipTest, AloneThereIsNoTransport) {
  Add(FakeGpu("a"));
  JoinAll(1);
  EXPECT_EQ(TransportOf(0, 1), nullptr);
}

}  // namespace
}  // namespace espalier
