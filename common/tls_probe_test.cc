// The probe against servers that are not Espalier's; against its own, see
// coordinator/service/security_test.cc.
#include "common/tls_probe.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "common/testing/certificates.h"

namespace espalier {
namespace {

// Takes one connection, writes `answer`, and hangs up.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(name);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&name), size), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size), 0);
    port_ = ntohs(name.sin_port);
    thread_ = std::thread([this, answer = std::move(answer)] {
      const int connection = accept(fd_, nullptr, nullptr);
      EXPECT_EQ(send(connection, answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
      close(connection);
    });
  }
  ~OneAnswer() {
    thread_.join();
    close(fd_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const int fd_;
  int port_ = 0;
  std::thread thread_;
};

constexpr std::chrono::seconds kPatience{10};

TEST(TlsProbeTest, NobodyThereIsNoVerdict) {
  std::string address;
  {
    const OneAnswer gone("");
    address = gone.address();
    EXPECT_TRUE(ProbeTls(address, TlsClient{.ca = TestCa().pem()}, kPatience).ok());  // hung up
  }
  for (const std::string& target :
       {address, std::string("unix:/nowhere/socket"), std::string("no-such-host.invalid:1"),
        std::string("dns:///localhost:1")}) {
    EXPECT_TRUE(ProbeTls(target, TlsClient{.ca = TestCa().pem()}, kPatience).ok()) << target;
    EXPECT_TRUE(ProbeTls(target, std::nullopt, kPatience).ok()) << target;
  }
}

TEST(TlsProbeTest, AnAnswerInTheClearIsNamed) {
  const OneAnswer server(std::string("\0\0\0\4\0\0\0\0\0", 9));  // empty HTTP/2 settings
  const absl::Status status =
      ProbeTls(server.address(), TlsClient{.ca = TestCa().pem()}, kPatience);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_NE(status.message().find("does not speak TLS"), std::string::npos) << status;
}

TEST(TlsProbeTest, AClientInTheClearMeetsAServerInTheClear) {
  const OneAnswer server(std::string("\0\0\0\4\0\0\0\0\0", 9));
  EXPECT_TRUE(ProbeTls(server.address(), std::nullopt, kPatience).ok());
}

}  // namespace
}  // namespace espalier
