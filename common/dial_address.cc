#include "common/dial_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace espalier {

namespace {

// Digits only, at most 65535.
std::optional<int> ParsePort(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || text.front() == '-' || port > 65535) return std::nullopt;
  return port;
}

// Without a scope such as "%eth0".
bool IsV6Address(std::string_view text) {
  in6_addr parsed{};
  return inet_pton(AF_INET6, std::string(text).c_str(), &parsed) == 1;
}

// Whatever a resolver makes of it, it is one word.
bool IsHostName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > ' ' && c != 0x7F && c != ':' && c != '[' && c != ']';
  });
}

}  // namespace

bool IsLoopbackHost(std::string_view host) {
  if (host == "localhost") return true;
  // The system's functions would read up to it.
  if (host.find('\0') != std::string_view::npos) return false;
  const std::string text(host);
  in_addr v4{};
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::optional<HostAndPort> ParseHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::optional<int> port = ParsePort(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  if (!port) return std::nullopt;
  if (host.starts_with('[') && host.ends_with(']') && host.size() > 2) {
    host = host.substr(1, host.size() - 2);
    const size_t scope = std::min(host.find('%'), host.size());
    const bool named = scope == host.size() || IsHostName(host.substr(scope + 1));
    if (!IsV6Address(host.substr(0, scope)) || !named) return std::nullopt;
  } else if (!IsHostName(host)) {
    return std::nullopt;
  }
  return HostAndPort{.host = std::string(host), .port = *port};
}

std::optional<DialAddress> ParseDialAddress(const std::string& text) {
  constexpr std::string_view kUnix = "unix:";
  DialAddress address;
  if (text.starts_with(kUnix)) {
    address.unix_path = text.substr(kUnix.size());
    if (address.unix_path.empty()) return std::nullopt;
    return address;
  }
  std::optional<HostAndPort> parsed = ParseHostAndPort(text);
  if (!parsed) return std::nullopt;
  address.host = std::move(parsed->host);
  address.port = std::to_string(parsed->port);
  return address;
}

}  // namespace espalier
