#include "coordinator/status/http_connection.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// The events that came until the deadline; 0: none, or an error.
short Poll(int socket, short events, Clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd entry{.fd = socket, .events = events, .revents = 0};
    const int count = poll(&entry, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (count < 0 && errno == EINTR) continue;
    return count > 0 ? entry.revents : static_cast<short>(0);
  }
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);

void ReadName(NameOf name_of, int socket, std::string& ip, int& port) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  char host[NI_MAXHOST];
  char service[NI_MAXSERV];
  auto* address = reinterpret_cast<sockaddr*>(&name);
  if (name_of(socket, address, &size) != 0 ||
      getnameinfo(address, size, host, sizeof(host), service, sizeof(service),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return;
  }
  ip = host;
  if (!absl::SimpleAtoi(service, &port)) port = -1;
}

}  // namespace

HttpConnection::HttpConnection(int socket, const ConnectionLimits& limits, const TlsContext* tls)
    : socket_(socket), limits_(limits), request_deadline_(Clock::now() + limits.request_time) {
  if (tls != nullptr) tls_.emplace(*tls);
}

ssize_t HttpConnection::read(char* data, size_t size) {
  if (begin_ == end_ && !Fill()) return 0;
  const size_t count = std::min(size, end_ - begin_);
  std::memcpy(data, buffer_.data() + begin_, count);
  begin_ += count;
  return static_cast<ssize_t>(count);
}

size_t HttpConnection::Receive(char* data, size_t size) {
  const size_t room = std::min(size, limits_.request_bytes - received_);
  if (room == 0 || Poll(socket_, POLLIN, request_deadline_) == 0) return 0;
  const ssize_t count = recv(socket_, data, room, MSG_DONTWAIT);
  if (count <= 0) return 0;
  received_ += count;
  return static_cast<size_t>(count);
}

bool HttpConnection::Fill() {
  begin_ = end_ = 0;
  if (!tls_.has_value()) {
    end_ = Receive(buffer_.data(), buffer_.size());
    return end_ > 0;
  }
  while (true) {
    const ssize_t count = tls_->Read(buffer_.data(), buffer_.size());
    // The handshake's part, or an alert that says what was wrong.
    const std::string output = tls_->TakeOutput();
    if (!SendAll(output.data(), output.size()) || count < 0) return false;
    if (count > 0) {
      end_ = static_cast<size_t>(count);
      return true;
    }
    std::array<char, 4096> bytes;
    const size_t received = Receive(bytes.data(), bytes.size());
    if (received == 0) return false;
    tls_->Feed(bytes.data(), received);
  }
}

ssize_t HttpConnection::write(const char* data, size_t size) {
  if (!tls_.has_value()) return SendAll(data, size) ? static_cast<ssize_t>(size) : -1;
  if (!tls_->Write(data, size)) return -1;
  const std::string output = tls_->TakeOutput();
  return SendAll(output.data(), output.size()) ? static_cast<ssize_t>(size) : -1;
}

bool HttpConnection::SendAll(const char* data, size_t size) {
  const Clock::time_point deadline = Clock::now() + limits_.write_time;
  size_t sent = 0;
  while (sent < size) {
    if ((Poll(socket_, POLLOUT, deadline) & POLLOUT) == 0) return false;
    const ssize_t count = send(socket_, data + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (count > 0) sent += count;
  }
  return true;
}

bool HttpConnection::is_readable() const {
  if (begin_ != end_ || (tls_.has_value() && tls_->HasDecrypted())) return true;
  return (Poll(socket_, POLLIN, Clock::now()) & POLLIN) != 0;
}

bool HttpConnection::is_writable() const {
  const short events = Poll(socket_, POLLOUT | POLLRDHUP, Clock::now() + limits_.write_time);
  return (events & POLLOUT) != 0 && (events & (POLLRDHUP | POLLHUP | POLLERR)) == 0;
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  ReadName(&getpeername, socket_, ip, port);
}

void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  ReadName(&getsockname, socket_, ip, port);
}

}  // namespace espalier
