// What hostile, broken and slow clients may do to the server, spoken over plain sockets.
#include "coordinator/status/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Clock = std::chrono::steady_clock;

constexpr int kPatienceMs = 20000;

class RawClient {
 public:
  explicit RawClient(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  ~RawClient() { close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void Send(const std::string& text) const {
    // The server may have gone away in the middle; that shows when the answer is read.
    (void)!send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
  }
  // All until the server ends the connection.
  std::string ReadAll() const {
    std::string text;
    char buffer[4096];
    while (true) {
      pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
      if (poll(&entry, 1, kPatienceMs) <= 0) {
        ADD_FAILURE() << "no end of the answer in time";
        return text;
      }
      const ssize_t count = recv(fd_, buffer, sizeof(buffer), 0);
      if (count <= 0) return text;
      text.append(buffer, count);
    }
  }

 private:
  const int fd_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(HttpServer::Options options) {
    server_ = std::make_unique<HttpServer>(
        options,
        [](const httplib::Request& request, httplib::Response& response) {
          response.status = 200;
          response.set_content("hello " + request.path, "text/plain");
        },
        [](const httplib::Request&, httplib::Response& response) {
          response.set_content("a reason", "text/plain");
        });
    ASSERT_TRUE(server_->Start("127.0.0.1", 0).ok());
  }
  void SetUp() override { Start({}); }

  std::string Ask(const std::string& request) {
    const RawClient client(server_->port());
    client.Send(request);
    return client.ReadAll();
  }
  void ExpectAlive() {
    EXPECT_THAT(Ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("hello /x")));
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersAndCloses) {
  ExpectAlive();
  EXPECT_THAT(Ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("Connection: close"));
}

TEST_F(HttpServerTest, WhatIsNoRequestGetsA400WithAReason) {
  for (const char* request : {"nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                              "FETCH / HTTP/1.1\r\n\r\n", "GET  /  HTTP/1.1 x\r\n\r\n"}) {
    EXPECT_THAT(Ask(request), AllOf(StartsWith("HTTP/1.1 400"), HasSubstr("a reason"))) << request;
  }
  ExpectAlive();
}

TEST_F(HttpServerTest, LongAndManyHeadersAreCutOff) {
  Ask("GET /" + std::string(20000, 'a') + " HTTP/1.1\r\n\r\n");
  Ask("GET / HTTP/1.1\r\nA: " + std::string(100000, 'a') + "\r\n\r\n");
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 20000; ++i) many += "A: b\r\n";
  Ask(many + "\r\n");
  ExpectAlive();
}

TEST_F(HttpServerTest, AskingForPartsGivesTheWhole) {
  EXPECT_THAT(Ask("GET /x HTTP/1.1\r\nRange: bytes=1-2,0-3,4-\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("hello /x")));
  Ask("GET / HTTP/1.1\r\nRange: bytes=99999999999999999999999999-\r\n\r\n");
  std::string ranges = "Range: bytes=0-0";
  while (ranges.size() < 8000) ranges += ",0-0";
  Ask("GET / HTTP/1.1\r\n" + ranges + "\r\n\r\n");
  ExpectAlive();
}

TEST_F(HttpServerTest, AnImpossiblePartIsRefusedWithAWholeReason) {
  EXPECT_THAT(
      Ask("GET /x HTTP/1.1\r\nRange: bytes=0-1,5-2\r\n\r\n"),
      AllOf(StartsWith("HTTP/1.1 416"), HasSubstr("a reason"), Not(HasSubstr("Content-Range"))));
}

TEST_F(HttpServerTest, BytesAndBodiesDoNoHarm) {
  Ask(std::string("\0\xff\x80GET\0 / HTTP/1.1\r\n\r\n", 22));
  Ask("GET /%00%ff%zz%?a=%&=&&b=%u12 HTTP/1.1\r\nContent-Length: -5\r\n\r\n");
  Ask("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nbody");
  Ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx");
  Ask("GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  ExpectAlive();
}

TEST_F(HttpServerTest, AClientThatGoesAwayIsForgotten) {
  for (int i = 0; i < 50; ++i) {
    const RawClient client(server_->port());
    client.Send("GET / HT");
  }
  ExpectAlive();
}

TEST_F(HttpServerTest, SlowClientsHoldAThreadOnlyForTheirTime) {
  server_->Stop();
  HttpServer::Options options;
  options.threads = 2;
  options.most_waiting = 1;
  options.limits.request_time = std::chrono::milliseconds(50);
  Start(options);
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 8; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port()));
    slow.back()->Send("GET / HTTP/1.1\r\nA:");
  }
  ExpectAlive();
}

TEST_F(HttpServerTest, StopWaitsForNobody) {
  server_->Stop();
  HttpServer::Options options;
  options.threads = 2;
  options.most_waiting = 1;
  options.limits.request_time = std::chrono::hours(1);
  Start(options);
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 5; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port()));
    slow.back()->Send("GET / HTTP/1.1\r\n");
  }
  const Clock::time_point start = Clock::now();
  server_->Stop();
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace espalier
