// What every transport must do. A new one is added to AllKinds.
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/cuda/loader.h"
#include "worker/cuda/nccl.h"
#include "worker/transport/stage_server.h"
#include "worker/transport/testing/local_transport.h"
#include "worker/transport/testing/nccl_replica.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

// Some stages, and whatever they need to live.
class Replica {
 public:
  virtual ~Replica() = default;
  virtual Transport& stage(int rank) = 0;
};

class LocalReplica final : public Replica {
 public:
  explicit LocalReplica(int size) : transports_(MakeLocalTransports(size)) {}
  Transport& stage(int rank) override { return *transports_[rank]; }

 private:
  std::vector<std::unique_ptr<Transport>> transports_;
};

class GrpcReplica final : public Replica {
 public:
  explicit GrpcReplica(int size) {
    std::vector<std::string> addresses;
    for (int rank = 0; rank < size; ++rank) {
      servers_.push_back(*StageServer::Start("127.0.0.1:0", std::nullopt));
      addresses.push_back(servers_.back()->address());
    }
    for (int rank = 0; rank < size; ++rank) {
      transports_.push_back(std::make_shared<GrpcTransport>(
          ReplicaPlace{.epoch = 7, .secret = "s", .rank = rank, .addresses = addresses},
          ConnectionSecurity()));
      servers_[rank]->Serve(transports_.back());
    }
  }
  Transport& stage(int rank) override { return *transports_[rank]; }

 private:
  std::vector<std::unique_ptr<StageServer>> servers_;
  std::vector<std::shared_ptr<GrpcTransport>> transports_;
};

// Host memory for a transport of device memory.
class ThroughDevice final : public Transport {
 public:
  ThroughDevice(Transport* transport, const CudaModule& module, int device)
      : transport_(*transport), module_(module), device_(device) {}

  int rank() const override { return transport_.rank(); }
  int size() const override { return transport_.size(); }
  Memory memory() const override { return Memory::kHost; }

  absl::Status Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                    const std::atomic<bool>* cancelled) override {
    const absl::StatusOr<DeviceBuffer> copy = DeviceBuffer::Allocate(module_, device_, bytes);
    if (!copy.ok()) return copy.status();
    absl::Status copied = module_.Copy(device_, copy->data(), data, bytes);
    if (!copied.ok()) return copied;
    return transport_.Send(peer, tag, copy->data(), bytes, cancelled);
  }
  absl::Status Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                       const std::atomic<bool>* cancelled) override {
    const absl::StatusOr<DeviceBuffer> copy = DeviceBuffer::Allocate(module_, device_, bytes);
    if (!copy.ok()) return copy.status();
    absl::Status status = transport_.Receive(peer, tag, copy->data(), bytes, cancelled);
    return status.ok() ? module_.Copy(device_, data, copy->data(), bytes) : status;
  }
  void Abort() override { transport_.Abort(); }

 private:
  Transport& transport_;
  const CudaModule module_;
  const int device_;
};

// Stage r on device r.
class DeviceReplica final : public Replica {
 public:
  DeviceReplica(int size, const CudaModule& module) : stages_(size, module) {
    for (int rank = 0; rank < size; ++rank) {
      ends_.push_back(std::make_unique<ThroughDevice>(&stages_.stage(rank), module, rank));
    }
  }
  Transport& stage(int rank) override { return *ends_[rank]; }

 private:
  NcclReplica stages_;
  std::vector<std::unique_ptr<ThroughDevice>> ends_;
};

// The real module, when this build has made it and this machine can use it.
absl::StatusOr<CudaModule> GpuModule() {
  std::vector<std::filesystem::path> folders = CudaModuleFolders();
  folders.emplace_back(ESPALIER_CUDA_MODULE_FOLDER);
  return CudaModule::Open(folders);
}

// Why this machine cannot run stages on that many GPUs; empty: it can.
std::string NoGpus(int count) {
  const absl::StatusOr<CudaModule> module = GpuModule();
  const absl::StatusOr<int> devices = module.ok() ? module->DeviceCount() : module.status();
  if (!devices.ok()) return std::string(devices.status().message());
  return *devices >= count ? "" : absl::StrCat("needs ", count, " GPUs, and there are ", *devices);
}

struct Kind {
  std::string name;
  std::function<std::unique_ptr<Replica>(int size)> make;
  std::function<std::string(int size)> why_not = [](int) { return ""; };
};

std::vector<Kind> AllKinds() {
  return {
      {"local", [](int size) { return std::make_unique<LocalReplica>(size); }},
      {"grpc", [](int size) { return std::make_unique<GrpcReplica>(size); }},
      {"nccl_fake",
       [](int size) {
         return std::make_unique<DeviceReplica>(size, CudaModule(espalier_cuda_module()));
       }},
      {"nccl", [](int size) { return std::make_unique<DeviceReplica>(size, *GpuModule()); },
       NoGpus},
  };
}

class TransportTest : public ::testing::TestWithParam<Kind> {
 protected:
  // Null, and the test skipped, where this machine has not what it takes.
  std::unique_ptr<Replica> Make(int size) {
    const std::string why_not = GetParam().why_not(size);
    if (why_not.empty()) return GetParam().make(size);
    [&] { GTEST_SKIP() << why_not; }();
    return nullptr;
  }

  static absl::Status Send(Transport& from, int to, MessageTag tag, const std::string& bytes,
                           const std::atomic<bool>* cancelled = nullptr) {
    return from.Send(to, tag, bytes.data(), static_cast<int64_t>(bytes.size()), cancelled);
  }
  static absl::StatusOr<std::string> Receive(Transport& at, int from, MessageTag tag, size_t size,
                                             const std::atomic<bool>* cancelled = nullptr) {
    std::string bytes(size, '\0');
    const absl::Status status =
        at.Receive(from, tag, bytes.data(), static_cast<int64_t>(size), cancelled);
    if (!status.ok()) return status;
    return bytes;
  }
};

std::string Pattern(size_t size, char seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(seed + i * 31 + (i >> 12));
  return bytes;
}

TEST_P(TransportTest, KnowsItsPlace) {
  const auto replica = Make(3);
  if (replica == nullptr) return;
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(replica->stage(rank).rank(), rank);
    EXPECT_EQ(replica->stage(rank).size(), 3);
    for (const int nobody : {rank, -1, 3}) {
      EXPECT_EQ(Send(replica->stage(rank), nobody, {1, 0}, "x").code(),
                absl::StatusCode::kInvalidArgument);
    }
  }
}

TEST_P(TransportTest, MessagesOfAnySizeArriveWholeAndInOrder) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  const std::vector<size_t> sizes = {0, 1, 1 << 20, (1 << 20) + 1, 5'000'003, 17};
  std::thread sender([&] {
    for (size_t i = 0; i < sizes.size(); ++i) {
      EXPECT_TRUE(Send(replica->stage(0), 1, {1, static_cast<int64_t>(i)},
                       Pattern(sizes[i], static_cast<char>(i)))
                      .ok());
    }
  });
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto bytes = Receive(replica->stage(1), 0, {1, static_cast<int64_t>(i)}, sizes[i]);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(*bytes == Pattern(sizes[i], static_cast<char>(i))) << "message " << i;
  }
  sender.join();
}

TEST_P(TransportTest, AllPairsInBothDirectionsAtOnce) {
  const auto replica = Make(3);
  if (replica == nullptr) return;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      for (int peer = 0; peer < 3; ++peer) {
        if (peer == rank) continue;
        EXPECT_TRUE(Send(replica->stage(rank), peer, {1, 0},
                         Pattern(3'000'000, static_cast<char>(10 * rank + peer)))
                        .ok());
      }
    });
    threads.emplace_back([&, rank] {
      for (int peer = 0; peer < 3; ++peer) {
        if (peer == rank) continue;
        const auto bytes = Receive(replica->stage(rank), peer, {1, 0}, 3'000'000);
        ASSERT_TRUE(bytes.ok()) << bytes.status();
        EXPECT_TRUE(*bytes == Pattern(3'000'000, static_cast<char>(10 * peer + rank)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(TransportTest, WhatTheReceiverGaveUpIsDropped) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  for (int64_t index = 0; index < 3; ++index) {
    ASSERT_TRUE(Send(replica->stage(0), 1, {4, index}, "old").ok());
  }
  ASSERT_TRUE(Send(replica->stage(0), 1, {5, 0}, "new!").ok());
  const auto bytes = Receive(replica->stage(1), 0, {5, 0}, 4);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "new!");
}

TEST_P(TransportTest, WhatTheSenderGaveUpIsAborted) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  ASSERT_TRUE(Send(replica->stage(0), 1, {5, 0}, "new!").ok());
  const auto missing = Receive(replica->stage(1), 0, {4, 1}, 4);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("gave up task 4"));
  const auto bytes = Receive(replica->stage(1), 0, {5, 0}, 4);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, "new!");
}

TEST_P(TransportTest, AnotherSizeThanExpectedIsRefused) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  ASSERT_TRUE(Send(replica->stage(0), 1, {1, 0}, "four").ok());
  EXPECT_EQ(Receive(replica->stage(1), 0, {1, 0}, 5).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(TransportTest, CancellingEndsAWaitingReceiveAndSpoilsNothing) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  std::atomic<bool> cancelled = false;
  std::thread receiver([&] {
    EXPECT_EQ(Receive(replica->stage(1), 0, {1, 0}, 4, &cancelled).status().code(),
              absl::StatusCode::kCancelled);
  });
  cancelled = true;
  receiver.join();
  ASSERT_TRUE(Send(replica->stage(0), 1, {2, 0}, "next").ok());
  EXPECT_TRUE(Receive(replica->stage(1), 0, {2, 0}, 4).ok());
}

TEST_P(TransportTest, ASenderThatIsFarAheadWaitsAndCanBeCancelled) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  const std::string bytes = Pattern(8 << 20, 1);
  std::atomic<bool> cancelled = false;
  std::atomic<int64_t> sent = 0;
  std::thread sender([&] {
    absl::Status status;
    while (status.ok() && sent < 1000) {
      status = Send(replica->stage(0), 1, {1, sent}, bytes, &cancelled);
      ++sent;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  });
  // With nobody receiving, 8 GB are never taken; once something was, the rest must wait.
  while (sent < 2) std::this_thread::yield();
  cancelled = true;
  sender.join();
  EXPECT_LT(sent, 100);
}

TEST_P(TransportTest, AbortEndsBothSides) {
  const auto replica = Make(2);
  if (replica == nullptr) return;
  // The link stands in both directions.
  for (const int rank : {0, 1}) {
    ASSERT_TRUE(Send(replica->stage(rank), 1 - rank, {1, 0}, "a").ok());
    ASSERT_TRUE(Receive(replica->stage(1 - rank), rank, {1, 0}, 1).ok());
  }
  std::thread own([&] {
    EXPECT_EQ(Receive(replica->stage(0), 1, {2, 0}, 1).status().code(), absl::StatusCode::kAborted);
  });
  std::thread peer([&] {
    EXPECT_EQ(Receive(replica->stage(1), 0, {2, 0}, 1).status().code(),
              absl::StatusCode::kUnavailable);
  });
  replica->stage(0).Abort();
  own.join();
  peer.join();
  EXPECT_EQ(Send(replica->stage(0), 1, {3, 0}, "b").code(), absl::StatusCode::kAborted);
}

INSTANTIATE_TEST_SUITE_P(All, TransportTest, ::testing::ValuesIn(AllKinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace espalier
