#include "tests/faults/proxied_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace espalier {
namespace {

constexpr size_t kBuffer = 64 << 10;
// How long a throttled pipe saves up, so that it sends in portions and not byte by byte.
constexpr double kPortionSeconds = 0.05;

bool MayTryAgain() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

bool ProxiedPipe::Fill() {
  char chunk[16 << 10];
  while (!ended_ && buffer_.size() < kBuffer) {
    const ssize_t got = recv(from_, chunk, sizeof(chunk), 0);
    if (got < 0) return MayTryAgain();
    if (got == 0) ended_ = true;
    buffer_.append(chunk, got);
  }
  return true;
}

int64_t ProxiedPipe::Allowance(int64_t bytes_per_second, Clock::time_point now) {
  const auto room = static_cast<int64_t>(buffer_.size());
  if (bytes_per_second == 0) return room;
  const double rate = static_cast<double>(bytes_per_second);
  allowance_ += rate * std::chrono::duration<double>(now - last_).count();
  allowance_ = std::min(allowance_, std::max(1.0, rate * kPortionSeconds));
  last_ = now;
  return std::min(room, static_cast<int64_t>(allowance_));
}

int64_t ProxiedPipe::Pump(int64_t bytes_per_second, int64_t limit, Clock::time_point now) {
  if (shut_) {
    // Reads on, so that the sender does not notice.
    buffer_.clear();
    return Fill() ? 0 : -1;
  }
  if (!Fill()) return -1;
  int64_t allowed = Allowance(bytes_per_second, now);
  if (limit >= 0) allowed = std::min(allowed, limit);
  int64_t gone = 0;
  while (gone < allowed) {
    const ssize_t sent = send(to_, buffer_.data() + gone, allowed - gone, MSG_NOSIGNAL);
    if (sent < 0 && !MayTryAgain()) return -1;
    if (sent < 0) break;
    gone += sent;
  }
  buffer_.erase(0, gone);
  allowance_ -= static_cast<double>(gone);
  if (ended_ && buffer_.empty()) Close();
  return gone;
}

void ProxiedPipe::Close() {
  if (shut_) return;
  shut_ = true;
  buffer_.clear();
  shutdown(to_, SHUT_WR);
}

int ProxiedPipe::WhatToWaitFor(int64_t bytes_per_second, std::vector<pollfd>* polled) const {
  if (!ended_ && buffer_.size() < kBuffer) polled->push_back({from_, POLLIN, 0});
  if (buffer_.empty()) return -1;
  if (bytes_per_second > 0) return static_cast<int>(kPortionSeconds * 1000 / 2);
  polled->push_back({to_, POLLOUT, 0});
  return -1;
}

ProxiedConnection::ProxiedConnection(int client, int target)
    : to_target(client, target), to_client(target, client), client_(client), target_(target) {}

ProxiedConnection::~ProxiedConnection() {
  close(client_);
  close(target_);
}

void ProxiedConnection::Reset() {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  for (const int fd : {client_, target_}) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }
}

}  // namespace espalier
