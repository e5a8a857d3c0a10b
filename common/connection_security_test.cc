#include "common/connection_security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "common/testing/certificates.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ConnectionSecurityTest : public ::testing::Test {
 protected:
  ConnectionSecurityTest() {
    flags_.token_file = WriteSecret(folder_ / "token", "0123456789abcdef\n");
  }

  absl::StatusOr<ConnectionSecurity> Read(const std::string& address) {
    Warnings warnings;
    return ReadConnectionSecurity(flags_, address, &warnings);
  }

  const std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "connection";
  ConnectionSecurityFlags flags_;
};

TEST_F(ConnectionSecurityTest, ATokenStaysOnThisMachineOrIsEncrypted) {
  EXPECT_EQ(Read("127.0.0.1:7070")->token, "0123456789abcdef");
  EXPECT_TRUE(Read("unix:/run/espalier").ok());
  for (const char* address : {"gpu-1:7070", "dns:///localhost:7070"}) {
    const auto refused = Read(address);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.status().message()),
                AllOf(HasSubstr(address), HasSubstr("--tls-ca"), HasSubstr("--insecure")));
  }
  flags_.insecure = true;
  EXPECT_TRUE(Read("gpu-1:7070").ok());
  flags_.insecure = false;
  flags_.tls.ca = WriteSecret(folder_ / "ca.pem", TestCa().pem());
  EXPECT_TRUE(Read("gpu-1:7070")->tls.has_value());
}

TEST_F(ConnectionSecurityTest, WithoutFilesThereIsNothingToCheck) {
  flags_ = {};
  const auto security = Read("gpu-1:7070");
  ASSERT_TRUE(security.ok()) << security.status();
  EXPECT_FALSE(security->tls.has_value());
  EXPECT_EQ(security->token, "");
}

}  // namespace
}  // namespace espalier
