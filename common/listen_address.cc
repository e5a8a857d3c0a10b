#include "common/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/dial_address.h"

namespace espalier {
namespace {

constexpr std::string_view kUnix = "unix:";

class Socket {
 public:
  explicit Socket(int family) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status Unavailable(const ListenAddress& address, const char* reason, const char* advice) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address.ToString(), ": ", reason, "; ", advice));
}

absl::Status ProbeUnix(const ListenAddress& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (address.unix_path.size() >= sizeof(name.sun_path)) {
    return Unavailable(address, "the path is too long for a socket",
                       "use one of at most 107 bytes");
  }
  std::memcpy(name.sun_path, address.unix_path.c_str(), address.unix_path.size() + 1);
  const Socket socket(AF_UNIX);
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    return absl::OkStatus();  // nobody there: gRPC replaces a socket that was left behind
  }
  return Unavailable(address, "another process listens there",
                     "stop it or choose another path with --listen");
}

absl::Status ProbeTcp(const ListenAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found)) {
    return Unavailable(address, gai_strerror(error), "give an address of this machine");
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  const Socket socket(found->ai_family);
  const int yes = 1;
  setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(socket.fd(), found->ai_addr, found->ai_addrlen) == 0 && listen(socket.fd(), 1) == 0) {
    return absl::OkStatus();
  }
  return Unavailable(address, std::strerror(errno),
                     errno == EADDRINUSE ? "stop the process that uses it or choose another port"
                                         : "give an address and port that this user may use");
}

}  // namespace

bool ListenAddress::IsLoopback() const { return !unix_path.empty() || IsLoopbackHost(host); }

std::string ListenAddress::ToString(int real_port) const {
  if (!unix_path.empty()) return absl::StrCat(std::string(kUnix), unix_path);
  const bool brackets = host.find(':') != std::string::npos;
  return absl::StrCat(brackets ? "[" : "", host, brackets ? "]:" : ":",
                      real_port != 0 ? real_port : port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(const std::string& text) {
  ListenAddress address;
  if (absl::StartsWith(text, "unix:")) {
    address.unix_path = text.substr(kUnix.size());
    if (!address.unix_path.empty()) return address;
  } else if (std::optional<HostAndPort> parsed = ParseHostAndPort(text); parsed) {
    address.host = std::move(parsed->host);
    address.port = parsed->port;
    return address;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\" is no address to listen on; expected HOST:PORT, [IPV6]:PORT or unix:/PATH"));
}

absl::Status ProbeListen(const ListenAddress& address) {
  return address.unix_path.empty() ? ProbeTcp(address) : ProbeUnix(address);
}

}  // namespace espalier
