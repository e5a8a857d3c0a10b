// A coordinator that is protected, and those who may and may not speak to it.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/grpc_credentials.h"
#include "common/grpc_status.h"
#include "common/testing/certificates.h"
#include "common/version.h"
#include "coordinator/service/server.h"
#include "coordinator/service/testing/raw_call.h"
#include "coordinator/service/testing/tiny_folder.h"
#include "espalier/v1/jobs.grpc.pb.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kClientToken[] = "a-token-for-clients";
constexpr char kWorkerToken[] = "a-token-for-workers";

class SecureServerTest : public ::testing::Test {
 protected:
  void Start(const CoordinatorSecurity& security) {
    auto server = CoordinatorServer::Start({.listen = "127.0.0.1:0", .security = security});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void StartTls(const TlsIdentity& identity, bool mutual) {
    Start({.tls = TlsServer{.identity = identity, .client_ca = mutual ? ca_.pem() : ""}});
  }

  std::shared_ptr<grpc::Channel> Channel(const ConnectionSecurity& security) const {
    return MakeChannel(server_->address(), security, grpc::ChannelArguments());
  }

  // The outcome of one call as a client or worker makes it: first wait for the connection.
  absl::Status List(const ConnectionSecurity& security) const {
    const auto channel = Channel(security);
    const std::string address = server_->address();
    ConnectionDoctor doctor(address, security);
    while (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                      std::chrono::milliseconds(50))) {
      const absl::Status verdict = doctor.Examine(*channel);
      if (!verdict.ok()) return verdict;
    }
    grpc::ClientContext context;
    v1::ListJobsResponse response;
    return FromGrpcStatus(v1::JobService::NewStub(channel)->ListJobs(&context, {}, &response));
  }
  void ExpectRefused(const ConnectionSecurity& security, const std::string& why,
                     const std::string& advice) const {
    const absl::Status status = List(security);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(why), HasSubstr(advice)));
  }

  // A worker's stream up to the coordinator's first answer.
  absl::Status Attach(const std::string& token) const {
    const auto stub = v1::WorkerService::NewStub(Channel({.token = token}));
    grpc::ClientContext context;
    const auto stream = stub->Attach(&context);
    v1::WorkerMessage hello;
    hello.mutable_hello()->set_device("cpu");
    hello.mutable_hello()->set_version(std::string(kVersion));
    stream->Write(hello);
    v1::CoordinatorMessage answer;
    if (stream->Read(&answer) && answer.has_welcome()) {
      context.TryCancel();
      stream->Finish();
      return absl::OkStatus();
    }
    return FromGrpcStatus(stream->Finish());
  }

  const TestCa ca_;
  std::unique_ptr<CoordinatorServer> server_;
};

// ---- TLS ----

TEST_F(SecureServerTest, TlsServesThoseWhoTrustItsCa) {
  StartTls(ca_.Issue(), /*mutual=*/false);
  EXPECT_TRUE(List({.tls = TlsClient{.ca = ca_.pem()}}).ok());
  // A certificate that nobody asked for does no harm.
  EXPECT_TRUE(List({.tls = TlsClient{.ca = ca_.pem(), .identity = ca_.Issue()}}).ok());
  ExpectRefused({}, "it speaks TLS", "--tls-ca");
  ExpectRefused({.tls = TlsClient{.ca = TestCa("another CA").pem()}}, "not vouched for",
                "--tls-ca");
}

TEST_F(SecureServerTest, MutualTlsServesThoseWithACertificateOfItsCa) {
  StartTls(ca_.Issue(), /*mutual=*/true);
  EXPECT_TRUE(List({.tls = TlsClient{.ca = ca_.pem(), .identity = ca_.Issue()}}).ok());
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem()}}, "asks for a client certificate", "--tls-cert");
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem(), .identity = TestCa("another CA").Issue()}},
                "does not accept the certificate", "--tls-client-ca");
  const TlsIdentity expired = ca_.Issue({.first_day = -3, .last_day = -1});
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem(), .identity = expired}},
                "does not accept the certificate", "expired");
  ExpectRefused({}, "it speaks TLS", "--tls-cert");
}

TEST_F(SecureServerTest, AnExpiredCertificateOfTheCoordinatorIsNamed) {
  StartTls(ca_.Issue({.first_day = -3, .last_day = -1}), /*mutual=*/false);
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem()}}, "has expired", "--tls-cert");
}

TEST_F(SecureServerTest, ACertificateForAnotherNameIsNamed) {
  StartTls(ca_.Issue({.names = {"DNS:gpu-1.example"}}), /*mutual=*/false);
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem()}}, "not for the name 127.0.0.1", "gpu-1.example");
}

TEST_F(SecureServerTest, AClientWithTlsLearnsThatTheCoordinatorHasNone) {
  Start({});
  ExpectRefused({.tls = TlsClient{.ca = ca_.pem()}}, "does not speak TLS", "--tls-ca");
}

TEST_F(SecureServerTest, TlsWorksOnAUnixSocket) {
  const std::string socket = absl::StrCat("unix:", (MakeTinyFolder("tls_socket") / "s").string());
  auto server = CoordinatorServer::Start(
      {.listen = socket, .security = {.tls = TlsServer{.identity = ca_.Issue()}}});
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  EXPECT_TRUE(List({.tls = TlsClient{.ca = ca_.pem()}}).ok());
  ExpectRefused({}, "it speaks TLS", "--tls-ca");
}

// ---- Tokens ----

class TokenTest : public SecureServerTest {
 protected:
  void SetUp() override {
    Start({.client_tokens = TokenSet({kClientToken}), .worker_tokens = TokenSet({kWorkerToken})});
  }
};

TEST_F(TokenTest, EachKindOfTokenOpensItsOwnService) {
  EXPECT_TRUE(List({.token = kClientToken}).ok());
  ExpectRefused({}, "none came", "ESPALIER_TOKEN_FILE");
  ExpectRefused({.token = "some-other-token"}, "none of those", "--token-file");
  ExpectRefused({.token = kWorkerToken}, "none of those", "--token-file");

  EXPECT_TRUE(Attach(kWorkerToken).ok());
  for (const char* token : {"", "some-other-token", kClientToken}) {
    const absl::Status status = Attach(token);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("espalier-worker"));
  }
}

TEST_F(TokenTest, NoMethodOfEitherServiceIsOpen) {
  for (const google::protobuf::Descriptor* message :
       {v1::SubmitJobRequest::descriptor(), v1::WorkerMessage::descriptor()}) {
    const google::protobuf::ServiceDescriptor* service = message->file()->service(0);
    ASSERT_GT(service->method_count(), 0);
    for (int i = 0; i < service->method_count(); ++i) {
      const std::string method =
          absl::StrCat("/", service->full_name(), "/", service->method(i)->name());
      for (const char* token : {"", "some-other-token"}) {
        const grpc::Status status = RawCallStatus(Channel({.token = token}), method, "");
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
      }
    }
  }
}

TEST_F(TokenTest, HealthAndReflectionAreOpen) {
  EXPECT_TRUE(RawCallStatus(Channel({}), "/grpc.health.v1.Health/Check", "").ok());
  EXPECT_TRUE(RawCallStatus(Channel({}),
                            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                            "\x3a\x01*")
                  .ok());
}

TEST_F(TokenTest, OnlyABearerTokenCounts) {
  const auto code = [&](const std::string& header) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", header);
    v1::ListJobsResponse response;
    return v1::JobService::NewStub(Channel({}))->ListJobs(&context, {}, &response).error_code();
  };
  EXPECT_EQ(code(absl::StrCat("Bearer ", kClientToken)), grpc::StatusCode::OK);
  EXPECT_EQ(code(absl::StrCat("bearer ", kClientToken)), grpc::StatusCode::OK);
  for (const std::string& header :
       {std::string(kClientToken), absl::StrCat("Basic ", kClientToken), std::string("Bearer"),
        std::string("Bearer "), absl::StrCat("Bearer ", kClientToken, "x")}) {
    EXPECT_EQ(code(header), grpc::StatusCode::UNAUTHENTICATED) << header;
  }
}

TEST_F(SecureServerTest, TokensAndMutualTlsTogether) {
  Start({.tls = TlsServer{.identity = ca_.Issue(), .client_ca = ca_.pem()},
         .client_tokens = TokenSet({kClientToken})});
  const TlsClient tls{.ca = ca_.pem(), .identity = ca_.Issue()};
  EXPECT_TRUE(List({.tls = tls, .token = kClientToken}).ok());
  ExpectRefused({.tls = tls}, "none came", "--token-file");
}

// ---- Roots ----

class RootsTest : public SecureServerTest {
 protected:
  void SetUp() override {
    folder_ = MakeTinyFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    for (const char* name : {"in", "results", "outside"}) fs::create_directories(folder_ / name);
    for (const char* name : {"model", "train.txt", "test.txt"}) {
      fs::rename(folder_ / name, folder_ / "in" / name);
    }
    Start({.roots = {
               .models = *PathRoots::Create("--model-root", {(folder_ / "in").string()}),
               .outputs = *PathRoots::Create("--output-root", {(folder_ / "results").string()})}});
  }

  JobSpec Spec() const {
    JobSpec spec = TinyFolderJob(folder_ / "in", "out");
    spec.output = folder_ / "results" / "out";
    return spec;
  }
  absl::Status Submit(const JobSpec& spec) const {
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    request.set_spec_yaml(JobSpecToYaml(spec));
    v1::Job job;
    return FromGrpcStatus(v1::JobService::NewStub(Channel({}))->SubmitJob(&context, request, &job));
  }
  void ExpectDenied(const JobSpec& spec, const std::string& key, const fs::path& path,
                    const std::string& root) const {
    const absl::Status status = Submit(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(key), HasSubstr(path.string()),
                                                     HasSubstr((folder_ / root).string())));
  }

  fs::path folder_;
};

TEST_F(RootsTest, WhatLiesBelowThemIsTaken) {
  const absl::Status status = Submit(Spec());
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RootsTest, ModelTextsAndOutputMustLieBelowThem) {
  const fs::path outside = folder_ / "outside" / "x";
  JobSpec spec = Spec();
  spec.model = outside;
  ExpectDenied(spec, "model: ", outside, "in");
  spec = Spec();
  spec.text.path = outside;
  ExpectDenied(spec, "text: ", outside, "in");
  spec = Spec();
  spec.eval_text.path = outside;
  ExpectDenied(spec, "eval_text: ", outside, "in");
  spec = Spec();
  spec.output = outside;
  ExpectDenied(spec, "output: ", outside, "results");
  spec.output = folder_ / "in" / "result";  // another kind's root
  ExpectDenied(spec, "output: ", folder_ / "in" / "result", "results");
}

TEST_F(RootsTest, DotsAndLinksDoNotLeadOutOfThem) {
  JobSpec spec = Spec();
  spec.output = folder_ / "results" / ".." / "outside" / "x";
  ExpectDenied(spec, "output: ", folder_ / "outside" / "x", "results");

  fs::create_symlink(folder_ / "outside", folder_ / "results" / "link");
  spec.output = folder_ / "results" / "link" / "x";
  ExpectDenied(spec, "output: ", spec.output, "results");
  fs::create_symlink(folder_ / "outside" / "new", folder_ / "results" / "dangling");
  spec.output = folder_ / "results" / "dangling";
  ExpectDenied(spec, "output: ", spec.output, "results");

  spec = Spec();
  std::ofstream(folder_ / "outside" / "secret.txt") << "secret";
  fs::create_symlink(folder_ / "outside" / "secret.txt", folder_ / "in" / "link.txt");
  spec.text.path = folder_ / "in" / "link.txt";
  ExpectDenied(spec, "text: ", spec.text.path, "in");

  spec = Spec();
  fs::rename(folder_ / "in" / "model" / "config.json", folder_ / "outside" / "config.json");
  fs::create_symlink(folder_ / "outside" / "config.json", folder_ / "in" / "model" / "config.json");
  ExpectDenied(spec, "model: ", folder_ / "in" / "model" / "config.json", "in");
}

TEST_F(RootsTest, WhatExistsElsewhereIsNotTold) {
  JobSpec spec = Spec();
  const auto words = [&](const fs::path& path) {
    spec.text.path = path;
    std::string text(Submit(spec).message());
    const size_t begin = text.find(path.string());
    EXPECT_NE(begin, std::string::npos) << text;
    return text.replace(begin, path.string().size(), "PATH");
  };
  EXPECT_EQ(words("/etc/passwd"), words("/etc/no-such-file"));
}

// ---- The listener ----

TEST_F(SecureServerTest, AnAddressOfTheNetworkNeedsProtection) {
  const auto bare = CoordinatorServer::Start({.listen = "0.0.0.0:0"});
  EXPECT_EQ(bare.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bare.status().message()), HasSubstr("--insecure"));
  const fs::path folder = MakeTinyFolder("protected");
  const PathRoots roots = *PathRoots::Create("--model-root", {folder.string()});
  const CoordinatorSecurity security = {
      .tls = TlsServer{.identity = ca_.Issue(), .client_ca = ca_.pem()},
      .roots = {.models = roots, .outputs = roots}};
  auto server = CoordinatorServer::Start({.listen = "0.0.0.0:0", .security = security});
  EXPECT_TRUE(server.ok()) << server.status();
}

}  // namespace
}  // namespace espalier
