// The status endpoint over HTTPS, and who may look.
#include "coordinator/status/status_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "common/testing/certificates.h"
#include "coordinator/status/testing_views.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

constexpr char kToken[] = "0123456789abcdef-client";
httplib::Headers Bearer() { return {{"Authorization", std::string("Bearer ") + kToken}}; }

class OneJob : public StatusSource {
 public:
  StatusSnapshot Look() const override {
    StatusSnapshot snapshot;
    snapshot.change = 1;
    snapshot.ready = true;
    snapshot.jobs = {MakeJob(1, JobState::kRunning, std::string(100'000, 'x'))};
    return snapshot;
  }
  absl::StatusOr<JobDetail> LookAt(JobId) const override { return absl::NotFoundError("none"); }
  uint64_t WaitForChange(uint64_t seen, std::chrono::steady_clock::time_point) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return seen;
  }
};

class StatusServerTest : public ::testing::Test {
 protected:
  void Start(const StatusSecurity& security) {
    auto server = StatusServer::Start("127.0.0.1", 0, &source_, security);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  TlsServer Tls(bool client_ca) const {
    return {.identity = ca_.Issue(), .client_ca = client_ca ? ca_.pem() : ""};
  }
  std::string Folder() const { return ::testing::TempDir(); }

  // Checks the server's certificate; shows `identity`, if any.
  std::unique_ptr<httplib::SSLClient> Client(const TlsIdentity* identity = nullptr) const {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    const std::string stem = Folder() + name;
    std::unique_ptr<httplib::SSLClient> client;
    if (identity == nullptr) {
      client = std::make_unique<httplib::SSLClient>("localhost", server_->port());
    } else {
      client = std::make_unique<httplib::SSLClient>(
          "localhost", server_->port(), WriteSecret(stem + "-cert.pem", identity->certificates),
          WriteSecret(stem + "-key.pem", identity->key));
    }
    client->set_ca_cert_path(WriteSecret(stem + "-ca.pem", ca_.pem()).c_str());
    client->enable_server_certificate_verification(true);
    return client;
  }
  int Status(httplib::SSLClient& client, const char* path,
             const httplib::Headers& headers = {}) const {
    const httplib::Result result = client.Get(path, headers);
    return result ? result->status : -1;
  }

  const TestCa ca_;
  const OneJob source_{};
  std::unique_ptr<StatusServer> server_;
};

TEST_F(StatusServerTest, LongAnswersComeWholeOverTls) {
  Start({.tls = Tls(false)});
  const auto client = Client();
  const httplib::Result result = client->Get("/api/v1/status");
  ASSERT_TRUE(result) << static_cast<int>(result.error());
  EXPECT_EQ(result->status, 200);
  EXPECT_THAT(result->body, HasSubstr(std::string(100'000, 'x')));
  EXPECT_EQ(result->body.back(), '}');
}

TEST_F(StatusServerTest, EventsStreamOverTls) {
  Start({.tls = Tls(false)});
  const auto client = Client();
  std::string received;
  client->Get("/api/v1/events", [&](const char* data, size_t size) {
    received.append(data, size);
    return received.find("event: status") == std::string::npos;
  });
  EXPECT_THAT(received, HasSubstr("event: status"));
}

TEST_F(StatusServerTest, ATokenOpensItAsBearerOrAsPassword) {
  Start({.tls = Tls(false), .tokens = TokenSet({kToken})});
  const auto client = Client();
  const httplib::Result refused = client->Get("/api/v1/status");
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 401);
  EXPECT_THAT(refused->get_header_value("WWW-Authenticate"), HasSubstr("Basic"));
  EXPECT_THAT(refused->body, HasSubstr("token"));
  EXPECT_EQ(Status(*client, "/metrics", Bearer()), 200);
  EXPECT_EQ(Status(*client, "/", {httplib::make_basic_authentication_header("me", kToken)}), 200);
  EXPECT_EQ(Status(*client, "/", {httplib::make_basic_authentication_header("me", "wrong")}), 401);
  EXPECT_EQ(Status(*client, "/", {{"Authorization", "Basic !!!"}}), 401);
  // What only the server may say.
  EXPECT_EQ(Status(*client, "/", {{"Espalier-Certified", "yes"}}), 401);
  EXPECT_EQ(Status(*client, "/", {{"espalier-certified", "yes"}}), 401);
  for (const char* open : {"/livez", "/readyz"}) EXPECT_EQ(Status(*client, open), 200);
}

TEST_F(StatusServerTest, ACertificateOfTheClientCaOpensIt) {
  Start({.tls = Tls(true), .tokens = TokenSet({kToken})});
  const TlsIdentity identity = ca_.Issue();
  EXPECT_EQ(Status(*Client(&identity), "/metrics"), 200);
  const auto without = Client();
  EXPECT_EQ(Status(*without, "/metrics"), 401);
  EXPECT_EQ(Status(*without, "/livez"), 200);
  EXPECT_EQ(Status(*without, "/metrics", Bearer()), 200);
}

TEST_F(StatusServerTest, ACertificateOfAnotherCaIsNoCertificate) {
  Start({.tls = Tls(true)});
  const TlsIdentity stranger = TestCa("another CA").Issue();
  EXPECT_EQ(Status(*Client(&stranger), "/metrics"), -1);
  EXPECT_EQ(Status(*Client(), "/metrics"), 401);
}

TEST_F(StatusServerTest, PlainHttpToATlsPortEndsAndTheNextClientIsServed) {
  Start({.tls = Tls(false)});
  httplib::Client plain("127.0.0.1", server_->port());
  EXPECT_FALSE(plain.Get("/"));
  EXPECT_EQ(Status(*Client(), "/livez"), 200);
}

TEST_F(StatusServerTest, WithoutSecurityEverybodyMayLook) {
  Start({});
  httplib::Client plain("127.0.0.1", server_->port());
  const httplib::Result result = plain.Get("/metrics");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 200);
}

TEST_F(StatusServerTest, AnIdentityThatDoesNotFitIsRefusedWithTheFlag) {
  TlsServer tls = Tls(false);
  tls.identity.key = ca_.Issue().key;
  const auto server = StatusServer::Start("127.0.0.1", 0, &source_, {.tls = tls});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("--tls-key"));
}

}  // namespace
}  // namespace espalier
