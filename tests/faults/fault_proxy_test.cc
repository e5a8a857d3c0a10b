#include "tests/faults/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using Direction = FaultProxy::Direction;

constexpr int kPatience = 20'000;  // milliseconds, for what must happen
constexpr int kMoment = 30;        // for what must not: more would only find more

FaultProxy::Deadline Soon() {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatience);
}

// A socket of this process, read with a deadline.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;

  int fd() const { return fd_; }
  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  bool Readable(int milliseconds) const {
    pollfd polled = {fd_, POLLIN, 0};
    return poll(&polled, 1, milliseconds) > 0;
  }
  // The next `count` bytes, or fewer with how it ended: "end" or "reset".
  std::string Read(size_t count) const {
    std::string bytes;
    while (bytes.size() < count) {
      char chunk[4096];
      if (!Readable(kPatience)) return bytes + "nothing";
      const ssize_t got = recv(fd_, chunk, std::min(sizeof(chunk), count - bytes.size()), 0);
      if (got == 0) return bytes + "end";
      if (got < 0) return bytes + (errno == ECONNRESET ? "reset" : "error");
      bytes.append(chunk, got);
    }
    return bytes;
  }

 private:
  int fd_;
};

class FaultProxyTest : public ::testing::Test {
 protected:
  FaultProxyTest() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.fd(), 16), 0);
    getsockname(listener_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    auto proxy = FaultProxy::Start(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)));
    EXPECT_TRUE(proxy.ok()) << proxy.status();
    proxy_ = *std::move(proxy);
  }

  // Negative when it was refused.
  Socket Dial() const {
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(proxy_->address().substr(10), &port));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return Socket(fd);
    close(fd);
    return Socket(-1);
  }
  struct Ends {
    Socket client;
    Socket target;
  };
  Ends Connect() const {
    Socket client = Dial();
    EXPECT_TRUE(listener_.Readable(kPatience));
    return {std::move(client), Socket(accept(listener_.fd(), nullptr, nullptr))};
  }

  const Socket listener_;
  std::unique_ptr<FaultProxy> proxy_;
};

TEST_F(FaultProxyTest, ForwardsBothWaysAndTheEnd) {
  const Ends ends = Connect();
  ends.client.Send("question");
  EXPECT_EQ(ends.target.Read(8), "question");
  ends.target.Send("answer");
  EXPECT_EQ(ends.client.Read(6), "answer");
  shutdown(ends.client.fd(), SHUT_WR);
  EXPECT_EQ(ends.target.Read(1), "end");
  ends.target.Send("last");
  EXPECT_EQ(ends.client.Read(4), "last");
  shutdown(ends.target.fd(), SHUT_WR);
  EXPECT_EQ(ends.client.Read(1), "end");
  EXPECT_TRUE(proxy_->WaitFor([](const auto& counts) { return counts.open == 0; }, Soon()));
  const FaultProxy::Counts counts = proxy_->counts();
  EXPECT_EQ(counts.accepted, 1);
  EXPECT_EQ(counts.to_target, 8);
  EXPECT_EQ(counts.to_client, 10);
}

TEST_F(FaultProxyTest, CarriesMoreThanItsBuffersHold) {
  const Ends ends = Connect();
  std::string bytes(8 << 20, 'a');
  for (size_t i = 0; i < bytes.size(); i += 997) bytes[i] = static_cast<char>('b' + i % 7);
  std::thread sender([&] { ends.client.Send(bytes); });
  EXPECT_TRUE(ends.target.Read(bytes.size()) == bytes);
  sender.join();
}

TEST_F(FaultProxyTest, ResetsBothEnds) {
  const Ends first = Connect();
  const Ends second = Connect();
  proxy_->Reset();
  for (const Ends* ends : {&first, &second}) {
    EXPECT_EQ(ends->client.Read(1), "reset");
    EXPECT_EQ(ends->target.Read(1), "reset");
  }
  const Ends third = Connect();
  third.client.Send("x");
  EXPECT_EQ(third.target.Read(1), "x");
}

TEST_F(FaultProxyTest, HalfClosesOneDirection) {
  const Ends ends = Connect();
  proxy_->HalfClose(Direction::kToTarget);
  EXPECT_EQ(ends.target.Read(1), "end");
  ends.client.Send("lost");
  ends.target.Send("still heard");
  EXPECT_EQ(ends.client.Read(11), "still heard");
  EXPECT_EQ(proxy_->counts().to_target, 0);
}

TEST_F(FaultProxyTest, FrozenConnectionsStayOpenAndSilent) {
  const Ends frozen = Connect();
  proxy_->Freeze();
  frozen.client.Send("lost");
  shutdown(frozen.target.fd(), SHUT_WR);
  const Ends other = Connect();
  other.client.Send("x");
  EXPECT_EQ(other.target.Read(1), "x");
  EXPECT_FALSE(frozen.target.Readable(kMoment));
  EXPECT_FALSE(frozen.client.Readable(kMoment));
}

TEST_F(FaultProxyTest, HeldTrafficGoesOnAfterTheRelease) {
  const Ends ends = Connect();
  proxy_->Hold();
  ends.client.Send("later");
  const Socket waiting = Dial();
  ASSERT_GE(waiting.fd(), 0);
  EXPECT_FALSE(ends.target.Readable(kMoment));
  EXPECT_FALSE(listener_.Readable(kMoment));
  proxy_->Release();
  EXPECT_EQ(ends.target.Read(5), "later");
  EXPECT_TRUE(listener_.Readable(kPatience));
}

// At a byte a second, a hundred bytes take more than this test.
TEST_F(FaultProxyTest, ThrottledTrafficComesSlowlyAndWhole) {
  const Ends ends = Connect();
  const std::string bytes(100, 's');
  proxy_->Throttle(1);
  ends.client.Send(bytes);
  EXPECT_EQ(ends.target.Read(1), "s");
  EXPECT_LT(proxy_->counts().to_target, 100);
  proxy_->Throttle(0);
  EXPECT_EQ(ends.target.Read(99), std::string(99, 's'));
}

TEST_F(FaultProxyTest, RefusesUntilItAcceptsAgain) {
  const Ends before = Connect();
  proxy_->Refuse();
  EXPECT_EQ(Dial().fd(), -1);
  before.client.Send("x");
  EXPECT_EQ(before.target.Read(1), "x");
  ASSERT_TRUE(proxy_->Accept().ok());
  const Ends after = Connect();
  after.client.Send("y");
  EXPECT_EQ(after.target.Read(1), "y");
}

TEST_F(FaultProxyTest, CutsAfterExactlySoManyBytes) {
  const Ends ends = Connect();
  proxy_->CutAfter(Direction::kToTarget, 300);
  ends.client.Send(std::string(299, 'c'));
  EXPECT_EQ(ends.target.Read(299), std::string(299, 'c'));
  ends.target.Send("z");
  EXPECT_EQ(ends.client.Read(1), "z");
  ends.client.Send(std::string(700, 'c'));
  EXPECT_EQ(ends.target.Read(2), "creset");
  EXPECT_EQ(proxy_->counts().to_target, 300);
  // Only once.
  const Ends next = Connect();
  next.client.Send(std::string(700, 'd'));
  EXPECT_EQ(next.target.Read(700), std::string(700, 'd'));
}

TEST_F(FaultProxyTest, WaitsForBytes) {
  const Ends ends = Connect();
  ends.client.Send("abc");
  EXPECT_EQ(ends.target.Read(3), "abc");
  EXPECT_FALSE(proxy_->WaitForBytes(Direction::kToTarget, 1, std::chrono::steady_clock::now()));
  // Only bytes after the call count, and what is sent once may come before it.
  std::atomic<bool> seen = false;
  std::thread sender([&] {
    while (!seen) {
      ends.client.Send("d");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  EXPECT_TRUE(proxy_->WaitForBytes(Direction::kToTarget, 2, Soon()));
  seen = true;
  sender.join();
}

TEST_F(FaultProxyTest, WithoutATargetConnectionsEnd) {
  auto proxy = FaultProxy::Start("127.0.0.1:1");
  ASSERT_TRUE(proxy.ok());
  proxy_ = *std::move(proxy);
  EXPECT_NE(Dial().Read(1), "nothing");
  EXPECT_FALSE(FaultProxy::Start("nowhere").ok());
}

}  // namespace
}  // namespace espalier
