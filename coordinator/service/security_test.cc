#include "coordinator/service/security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "common/testing/certificates.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class SecurityTest : public ::testing::Test {
 protected:
  SecurityTest() {
    const TestCa ca;
    const TlsIdentity identity = ca.Issue();
    all_.tls = {.cert = WriteSecret(folder_ / "cert.pem", identity.certificates),
                .key = WriteSecret(folder_ / "key.pem", identity.key),
                .client_ca = WriteSecret(folder_ / "ca.pem", ca.pem())};
    all_.token_file = WriteSecret(folder_ / "tokens", "a-token-for-clients\n");
    all_.worker_token_file = WriteSecret(folder_ / "worker-tokens", "a-token-for-workers\n");
    all_.model_roots = {folder_.string()};
    all_.output_roots = {folder_.string()};
  }

  // What CheckReach says to these flags; empty: it lets the address pass.
  std::string Reach(const std::string& address, const CoordinatorSecurityFlags& flags) {
    const auto security = ReadCoordinatorSecurity(flags, &warnings_);
    EXPECT_TRUE(security.ok()) << security.status();
    const absl::Status status = CheckReach(*ParseListenAddress(address), *security);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }
  std::string ReadError(const CoordinatorSecurityFlags& flags) {
    const auto security = ReadCoordinatorSecurity(flags, &warnings_);
    EXPECT_EQ(security.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(security.status().message());
  }

  const std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "security";
  CoordinatorSecurityFlags all_;
  Warnings warnings_;
};

TEST_F(SecurityTest, OnThisMachineNothingIsAskedFor) {
  for (const char* address : {"127.0.0.1:7070", "[::1]:0", "unix:/run/s", "localhost:1"}) {
    EXPECT_EQ(Reach(address, {}), "") << address;
  }
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(SecurityTest, EverythingMissingIsNamed) {
  EXPECT_THAT(Reach("0.0.0.0:7070", {}),
              AllOf(HasSubstr("0.0.0.0:7070"), HasSubstr("--tls-cert"), HasSubstr("--token-file"),
                    HasSubstr("--worker-token-file"), HasSubstr("--model-root"),
                    HasSubstr("--output-root"), HasSubstr("--insecure")));
}

TEST_F(SecurityTest, EachPartThatIsMissingIsNamedAlone) {
  EXPECT_EQ(Reach("0.0.0.0:7070", all_), "");

  CoordinatorSecurityFlags flags = all_;
  flags.tls = {};
  EXPECT_THAT(
      Reach("[::]:7070", flags),
      AllOf(HasSubstr("--tls-cert"), Not(HasSubstr("authentication")), Not(HasSubstr("-root"))));
  flags = all_;
  flags.model_roots.clear();
  EXPECT_THAT(Reach("[::]:7070", flags),
              AllOf(HasSubstr("--model-root"), Not(HasSubstr("--output-root")),
                    Not(HasSubstr("--tls-cert"))));
  flags = all_;
  flags.output_roots.clear();
  EXPECT_THAT(Reach("[::]:7070", flags), HasSubstr("--output-root"));
}

TEST_F(SecurityTest, CertificatesOrBothKindsOfTokensAuthenticate) {
  CoordinatorSecurityFlags flags = all_;
  flags.token_file.clear();
  flags.worker_token_file.clear();
  EXPECT_EQ(Reach("0.0.0.0:1", flags), "");  // client certificates
  flags = all_;
  flags.tls.client_ca.clear();
  EXPECT_EQ(Reach("0.0.0.0:1", flags), "");  // tokens
  flags.worker_token_file.clear();
  EXPECT_THAT(Reach("0.0.0.0:1", flags),
              AllOf(HasSubstr("--worker-token-file"), Not(HasSubstr("of clients"))));
  flags.token_file.clear();
  EXPECT_THAT(Reach("0.0.0.0:1", flags), HasSubstr("authentication of clients (--token-file"));
}

TEST_F(SecurityTest, InsecureIsAllowedWhenAskedFor) {
  EXPECT_EQ(Reach("0.0.0.0:7070", {.insecure = true}), "");
}

TEST_F(SecurityTest, WarnsWhenOneServiceIsLeftOpen) {
  EXPECT_EQ(Reach("127.0.0.1:1", {.token_file = all_.token_file}), "");
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("--worker-token-file")));
}

TEST_F(SecurityTest, ClientsAndWorkersShareNoToken) {
  all_.worker_token_file =
      WriteSecret(folder_ / "both", "another-for-workers\na-token-for-clients\n");
  EXPECT_THAT(ReadError(all_), AllOf(HasSubstr("both"), HasSubstr("in common"),
                                     Not(HasSubstr("a-token-for-clients"))));
}

TEST_F(SecurityTest, ErrorsInFilesNameTheirFlag) {
  CoordinatorSecurityFlags flags = all_;
  flags.tls.key = all_.tls.cert;
  EXPECT_THAT(ReadError(flags), HasSubstr("--tls-key"));
  flags = all_;
  flags.worker_token_file = WriteSecret(folder_ / "short", "short\n");
  EXPECT_THAT(ReadError(flags), HasSubstr("--worker-token-file"));
  flags = all_;
  flags.output_roots = {"/nowhere"};
  EXPECT_THAT(ReadError(flags), HasSubstr("--output-root /nowhere"));
}

}  // namespace
}  // namespace espalier
