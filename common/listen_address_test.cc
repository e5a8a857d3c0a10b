#include "common/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(ListenAddressTest, ReadsAndWritesAllForms) {
  for (const char* text : {"127.0.0.1:7070", "localhost:0", "[::1]:80", "unix:/run/espalier.sock",
                           "coordinator.example:65535"}) {
    const auto address = ParseListenAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(ParseListenAddress("[::1]:0")->ToString(81), "[::1]:81");
}

TEST(ListenAddressTest, RefusesEverythingElse) {
  for (const char* text : {"", "localhost", ":80", "host:", "host:65536", "host:-1", "::1:80",
                           "[::1]", "host:80x", "unix:", "[]:80", "a]:80", "host:+80", "host: 80",
                           "[host]:80", "[a]b]:80", "two words:80"}) {
    const auto address = ParseListenAddress(text);
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ListenAddressTest, KnowsWhatOtherMachinesCanReach) {
  for (const char* text : {"127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1", "unix:/a"}) {
    EXPECT_TRUE(ParseListenAddress(text)->IsLoopback()) << text;
  }
  for (const char* text :
       {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.evil.example:1", "localhost.example:1"}) {
    EXPECT_FALSE(ParseListenAddress(text)->IsLoopback()) << text;
  }
}

TEST(ListenAddressTest, AProbeGivesTheSystemsReason) {
  const absl::Status foreign = ProbeListen(*ParseListenAddress("192.0.2.1:7070"));
  EXPECT_EQ(foreign.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(foreign.message()), ::testing::HasSubstr("192.0.2.1:7070"));
  const absl::Status unknown = ProbeListen(*ParseListenAddress("no-such-host.invalid:7070"));
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable);
  const absl::Status longer = ProbeListen(*ParseListenAddress("unix:/" + std::string(200, 'a')));
  EXPECT_EQ(longer.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ProbeListen(*ParseListenAddress("127.0.0.1:0")).ok());
}

}  // namespace
}  // namespace espalier
