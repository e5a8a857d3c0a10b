// Addresses that a client dials, as far as we look into them: "host:port", "[v6 address]:port",
// "unix:/path". gRPC knows more forms.
#ifndef ESPALIER_COMMON_DIAL_ADDRESS_H_
#define ESPALIER_COMMON_DIAL_ADDRESS_H_

#include <optional>
#include <string>
#include <string_view>

namespace espalier {

// localhost, 127.0.0.0/8 or ::1 (without brackets): what is sent there stays on this machine.
bool IsLoopbackHost(std::string_view host);

// "host:port" or "[v6 address]:port", with a port from 0 to 65535.
struct HostAndPort {
  std::string host;  // without brackets
  int port = 0;
};
// None for any other form.
std::optional<HostAndPort> ParseHostAndPort(std::string_view text);

struct DialAddress {
  std::string unix_path;  // empty: TCP
  std::string host;       // without brackets
  std::string port;

  bool IsLoopback() const { return !unix_path.empty() || IsLoopbackHost(host); }
};

// None for any other form.
std::optional<DialAddress> ParseDialAddress(const std::string& text);

}  // namespace espalier

#endif  // ESPALIER_COMMON_DIAL_ADDRESS_H_
