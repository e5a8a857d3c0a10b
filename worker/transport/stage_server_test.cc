#include "worker/transport/stage_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
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
  EXPECT_THAT(std::string(stale->Send(1, {1, 0}, "x", 1, nullptr).message()),
              HasSubstr("no stage of that"));
  const auto stranger = Stage(0, addresses_, 9, "wrong");
  EXPECT_THAT(std::string(stranger->Send(1, {1, 0}, "x", 1, nullptr).message()),
              HasSubstr("no stage of that"));
}

TEST_F(StageServerTest, WaitsForAReplicaThatItHasNotHeardOfYet) {
  const auto early = Stage(0, addresses_, 9, "s");
  std::thread sender([&] { EXPECT_TRUE(early->Send(1, {1, 0}, "x", 1, nullptr).ok()); });
  // For the stream to be there first, which is not needed, but is the case that this is about.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto late = Stage(1, addresses_, 9, "s");
  server_->Serve(late);
  sender.join();
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

// The peer never knew of the stream, so that nobody but the sender can say that it is lost.
TEST_F(StageServerTest, NothingCountsAsSentBeforeThePeerReads) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 16), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const auto sender =
      Stage(0, {"127.0.0.1:1", absl::StrCat("127.0.0.1:", ntohs(address.sin_port))}, 9, "s");
  std::thread network([&] {
    // It is taken, read a little of, and lost.
    const int connection = accept(listener, nullptr, nullptr);
    char bytes[16];
    EXPECT_GT(recv(connection, bytes, sizeof(bytes), 0), 0);
    close(connection);
    close(listener);
  });
  EXPECT_EQ(sender->Send(1, {1, 0}, "x", 1, nullptr).code(), absl::StatusCode::kUnavailable);
  network.join();
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
