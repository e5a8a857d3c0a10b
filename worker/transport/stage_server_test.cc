#include "worker/transport/stage_server.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<GrpcTransport> Stage(int rank, const std::vector<std::string>& addresses,
                                     uint64_t epoch, const std::string& secret) {
  return std::make_shared<GrpcTransport>(
      ReplicaPlace{.epoch = epoch, .secret = secret, .rank = rank, .addresses = addresses},
      ConnectionSecurity());
}

class StageServerTest : public ::testing::Test {
 protected:
  StageServerTest()
      : server_(*StageServer::Start("127.0.0.1:0", std::nullopt)),
        addresses_{"127.0.0.1:1", server_->address()} {}

  // Sends until it is told that the stream was refused.
  static absl::Status SendUntilRefused(GrpcTransport& transport) {
    absl::Status status;
    for (int64_t i = 0; status.ok(); ++i) status = transport.Send(1, {1, i}, "x", 1, nullptr);
    return status;
  }

  std::unique_ptr<StageServer> server_;
  std::vector<std::string> addresses_;
};

TEST_F(StageServerTest, ReportsItsRealPort) {
  EXPECT_THAT(server_->address(), HasSubstr("127.0.0.1:"));
  EXPECT_NE(server_->address(), "127.0.0.1:0");
}

TEST_F(StageServerTest, RefusesAnAddressThatIsTaken) {
  EXPECT_EQ(StageServer::Start(server_->address(), std::nullopt).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(StageServerTest, RefusesAnotherReplicasStage) {
  server_->Serve(Stage(1, addresses_, 9, "right"));
  const auto stale = Stage(0, addresses_, 8, "right");
  EXPECT_THAT(std::string(SendUntilRefused(*stale).message()), HasSubstr("no stage of that"));
  const auto stranger = Stage(0, addresses_, 9, "wrong");
  EXPECT_THAT(std::string(SendUntilRefused(*stranger).message()), HasSubstr("no stage of that"));
}

TEST_F(StageServerTest, WaitsForAReplicaThatItHasNotHeardOfYet) {
  const auto early = Stage(0, addresses_, 9, "s");
  ASSERT_TRUE(early->Send(1, {1, 0}, "x", 1, nullptr).ok());
  const auto late = Stage(1, addresses_, 9, "s");
  server_->Serve(late);
  char byte = 0;
  EXPECT_TRUE(late->Receive(0, {1, 0}, &byte, 1, nullptr).ok());
  EXPECT_EQ(byte, 'x');
}

TEST_F(StageServerTest, TheReplicaBeforeIsAborted) {
  const auto before = Stage(1, addresses_, 9, "s");
  server_->Serve(before);
  server_->Serve(Stage(1, addresses_, 10, "s"));
  char byte = 0;
  EXPECT_EQ(before->Receive(0, {1, 0}, &byte, 1, nullptr).code(), absl::StatusCode::kAborted);
}

TEST_F(StageServerTest, NobodyListensThere) {
  const auto lonely = Stage(1, addresses_, 9, "s");
  const absl::Status status = [&] {
    absl::Status sent;
    for (int64_t i = 0; sent.ok(); ++i) sent = lonely->Send(0, {1, i}, "x", 1, nullptr);
    return sent;
  }();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace espalier
