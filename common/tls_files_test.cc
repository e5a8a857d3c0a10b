#include "common/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "common/testing/certificates.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TlsFilesTest : public ::testing::Test {
 protected:
  TlsFilesTest() {
    fs::remove_all(folder_);
    const TlsIdentity identity = ca_.Issue();
    cert_ = Write("cert.pem", identity.certificates);
    key_ = Write("key.pem", identity.key);
    ca_file_ = Write("ca.pem", ca_.pem());
  }

  std::string Write(const std::string& name, const std::string& contents) {
    return WriteSecret(folder_ / name, contents);
  }
  // The error of a server with these files.
  std::string ServerError(const TlsServerFiles& files) {
    const auto server = ReadTlsServer(files, &warnings_);
    EXPECT_FALSE(server.ok());
    code_ = server.status().code();
    return std::string(server.status().message());
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) / "tls_files";
  const TestCa ca_;
  std::string cert_;
  std::string key_;
  std::string ca_file_;
  Warnings warnings_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
};

TEST_F(TlsFilesTest, NoFilesNoTls) {
  EXPECT_FALSE(ReadTlsServer({}, &warnings_)->has_value());
  EXPECT_FALSE(ReadTlsClient({}, &warnings_)->has_value());
}

TEST_F(TlsFilesTest, ReadsWhatFitsTogether) {
  const auto server =
      ReadTlsServer({.cert = cert_, .key = key_, .client_ca = ca_file_}, &warnings_);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->client_ca, ca_.pem());
  EXPECT_THAT((*server)->identity.key, HasSubstr("PRIVATE KEY"));
  EXPECT_EQ((*ReadTlsServer({.cert = cert_, .key = key_}, &warnings_))->client_ca, "");

  const auto client = ReadTlsClient({.ca = ca_file_, .cert = cert_, .key = key_}, &warnings_);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE((*client)->identity.has_value());
  EXPECT_FALSE((*ReadTlsClient({.ca = ca_file_}, &warnings_))->identity.has_value());
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(TlsFilesTest, AFlagThatLacksAnotherSaysWhich) {
  EXPECT_THAT(ServerError({.cert = cert_}), HasSubstr("--tls-cert needs --tls-key"));
  EXPECT_THAT(ServerError({.key = key_}), HasSubstr("--tls-key needs --tls-cert"));
  EXPECT_THAT(ServerError({.client_ca = ca_file_}), HasSubstr("--tls-client-ca needs --tls-cert"));
  EXPECT_EQ(code_, absl::StatusCode::kInvalidArgument);
  for (const TlsClientFiles& files :
       {TlsClientFiles{.cert = cert_, .key = key_}, TlsClientFiles{.ca = ca_file_, .cert = cert_},
        TlsClientFiles{.ca = ca_file_, .key = key_}}) {
    EXPECT_THAT(std::string(ReadTlsClient(files, &warnings_).status().message()),
                HasSubstr(" needs "));
  }
}

TEST_F(TlsFilesTest, AMissingFileIsNamedWithItsFlag) {
  EXPECT_THAT(ServerError({.cert = cert_, .key = "/nowhere/key.pem"}),
              AllOf(HasSubstr("--tls-key"), HasSubstr("/nowhere/key.pem")));
  EXPECT_EQ(code_, absl::StatusCode::kNotFound);
}

TEST_F(TlsFilesTest, WhatIsNoPemIsRefused) {
  const std::string text = Write("text", "hello\n");
  EXPECT_THAT(ServerError({.cert = text, .key = key_}),
              AllOf(HasSubstr("--tls-cert " + text), HasSubstr("PEM")));
  EXPECT_THAT(ServerError({.cert = cert_, .key = text}),
              AllOf(HasSubstr("--tls-key " + text), HasSubstr("PEM")));
  EXPECT_THAT(ServerError({.cert = cert_, .key = key_, .client_ca = text}),
              AllOf(HasSubstr("--tls-client-ca " + text), HasSubstr("PEM")));
  // A chain of which the second part is cut off.
  const std::string cut = Write("cut", ca_.pem() + ca_.pem().substr(0, 200));
  EXPECT_THAT(ServerError({.cert = cert_, .key = key_, .client_ca = cut}), HasSubstr("undamaged"));
  EXPECT_EQ(code_, absl::StatusCode::kInvalidArgument);
}

TEST_F(TlsFilesTest, TheKeyOfAnotherCertificateIsRefused) {
  const std::string other = Write("other.pem", ca_.Issue().key);
  EXPECT_THAT(
      ServerError({.cert = cert_, .key = other}),
      AllOf(HasSubstr("--tls-key " + other), HasSubstr("not the key of"), HasSubstr(cert_)));
}

TEST_F(TlsFilesTest, ACertificateThatIsNotValidTodayIsRefused) {
  const auto error = [&](int first_day, int last_day) {
    const TlsIdentity identity = ca_.Issue({.first_day = first_day, .last_day = last_day});
    return ServerError(
        {.cert = Write("c", identity.certificates), .key = Write("k", identity.key)});
  };
  EXPECT_THAT(error(-3, -1), HasSubstr("expired on 20"));
  EXPECT_THAT(error(1, 3), HasSubstr("valid only from 20"));
}

TEST_F(TlsFilesTest, WarnsOfAKeyThatOthersMayRead) {
  fs::permissions(key_, fs::perms::others_read, fs::perm_options::add);
  ASSERT_TRUE(ReadTlsServer({.cert = cert_, .key = key_}, &warnings_).ok());
  EXPECT_THAT(warnings_, ElementsAre(AllOf(HasSubstr("--tls-key " + key_), HasSubstr("chmod"))));
}

}  // namespace
}  // namespace espalier
