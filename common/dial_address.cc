#include "common/dial_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

namespace espalier {

bool IsLoopbackHost(std::string_view host) {
  if (host == "localhost") return true;
  const std::string text(host);
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::optional<DialAddress> ParseDialAddress(const std::string& text) {
  constexpr std::string_view kUnix = "unix:";
  DialAddress address;
  if (text.starts_with(kUnix)) {
    address.unix_path = text.substr(kUnix.size());
    if (address.unix_path.empty()) return std::nullopt;
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  address.host = text.substr(0, colon);
  address.port = text.substr(colon + 1);
  const bool bracketed = address.host.front() == '[' && address.host.back() == ']';
  if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
  const bool plain = address.host.find_first_of(":[]") == std::string::npos;
  const bool number = address.port.find_first_not_of("0123456789") == std::string::npos;
  if (!(bracketed || plain) || address.host.empty() || address.port.empty() || !number) {
    return std::nullopt;
  }
  return address;
}

}  // namespace espalier
