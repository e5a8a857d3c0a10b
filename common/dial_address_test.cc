#include "common/dial_address.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(DialAddressTest, TakesTheFormsOfAListener) {
  EXPECT_EQ(ParseDialAddress("gpu-1:7070")->host, "gpu-1");
  EXPECT_EQ(ParseDialAddress("gpu-1:7070")->port, "7070");
  EXPECT_EQ(ParseDialAddress("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseDialAddress("unix:/run/s")->unix_path, "/run/s");
  for (const char* other : {"",          "host",           ":80",        "host:",
                            "::1:80",    "dns:///host:80", "unix:",      "ipv4:127.0.0.1:80",
                            "host:http", "[]:80",          "host:65536", "host:-0",
                            "host: 80",  "two words:80",   "[host]:80",  "[127.0.0.1]:80",
                            "[::1]]:80", "[[::1]:80",      "[::1%]:80",  "[::1%a b]:80"}) {
    EXPECT_FALSE(ParseDialAddress(other).has_value()) << other;
  }
  EXPECT_EQ(ParseDialAddress("[fe80::1%eth0]:80")->host, "fe80::1%eth0");
}

TEST(DialAddressTest, KnowsWhatStaysOnThisMachine) {
  for (const char* text : {"127.0.0.1:1", "127.1.2.3:1", "localhost:1", "[::1]:1", "unix:/a"}) {
    EXPECT_TRUE(ParseDialAddress(text)->IsLoopback()) << text;
  }
  for (const char* text : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.evil.example:1",
                           "127.0.0.1.example:1", "localhost,evil:1", "localhost.example:1"}) {
    EXPECT_FALSE(ParseDialAddress(text)->IsLoopback()) << text;
  }
}

TEST(DialAddressTest, NothingHidesBehindANul) {
  using namespace std::string_literals;
  EXPECT_FALSE(IsLoopbackHost("127.0.0.1\0.example"s));
  EXPECT_FALSE(IsLoopbackHost("::1\0.example"s));
  EXPECT_FALSE(ParseDialAddress("127.0.0.1\0.example:80"s).has_value());
}

}  // namespace
}  // namespace espalier
