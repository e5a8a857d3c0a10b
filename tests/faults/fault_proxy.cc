#include "tests/faults/fault_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "tests/faults/proxied_connection.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kNoCut = -1;

absl::Status SocketError(const char* what) {
  return absl::UnavailableError(absl::StrCat("cannot ", what, ": ", std::strerror(errno)));
}

sockaddr_in Address(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

const sockaddr* General(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

absl::StatusOr<int> Listen(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const sockaddr_in address = Address("127.0.0.1", port);
  if (bind(fd, General(address), sizeof(address)) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  const absl::Status status = SocketError("listen");
  close(fd);
  return status;
}

int PortOf(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

void SendAtOnce(int fd) {
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

// On the loopback a connection is made or refused at once. -1: refused.
int Dial(const sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, General(address), sizeof(address)) != 0) {
    close(fd);
    return -1;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  SendAtOnce(fd);
  return fd;
}

// One thread forwards. It sleeps in poll without the lock; a command does its work under the lock
// and wakes it, and it then looks at everything anew.
class PollingProxy final : public FaultProxy {
 public:
  PollingProxy(int listener, const sockaddr_in& target)
      : port_(PortOf(listener)),
        target_(target),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        listener_(listener),
        thread_([this] { Run(); }) {}

  ~PollingProxy() override {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      ResetAll();
      Changed();
    }
    thread_.join();
    MutexLock lock(&mutex_);
    if (listener_ >= 0) close(listener_);
    close(wake_);
  }

  std::string address() const override { return absl::StrCat("127.0.0.1:", port_); }

  Counts counts() const override {
    MutexLock lock(&mutex_);
    return counts_;
  }

  bool WaitFor(const std::function<bool(const Counts&)>& condition, Deadline deadline) override {
    MutexLock lock(&mutex_);
    while (!condition(counts_)) {
      if (!counted_.WaitUntil(&mutex_, deadline)) return condition(counts_);
    }
    return true;
  }

  void Reset() override {
    MutexLock lock(&mutex_);
    ResetAll();
    Changed();
  }

  void HalfClose(Direction direction) override {
    MutexLock lock(&mutex_);
    for (const auto& connection : connections_) PipeOf(*connection, direction).Close();
    Changed();
  }

  void Freeze() override {
    MutexLock lock(&mutex_);
    for (const auto& connection : connections_) connection->frozen = true;
    Changed();
  }

  void Hold() override { SetHeld(true); }
  void Release() override { SetHeld(false); }

  void Throttle(int64_t bytes_per_second) override {
    MutexLock lock(&mutex_);
    bytes_per_second_ = bytes_per_second;
    Changed();
  }

  void Refuse() override {
    MutexLock lock(&mutex_);
    if (listener_ >= 0) {
      shutdown(listener_, SHUT_RDWR);  // at once, also while the thread polls it
      close(std::exchange(listener_, -1));
    }
    Changed();
  }

  absl::Status Accept() override {
    MutexLock lock(&mutex_);
    if (listener_ >= 0) return absl::OkStatus();
    ESPALIER_ASSIGN_OR_RETURN(listener_, Listen(port_));
    Changed();
    return absl::OkStatus();
  }

  void CutAfter(Direction direction, int64_t bytes) override {
    MutexLock lock(&mutex_);
    (direction == Direction::kToTarget ? cut_to_target_ : cut_to_client_) = bytes;
    Changed();
  }

 private:
  using Connections = std::vector<std::unique_ptr<ProxiedConnection>>;

  static ProxiedPipe& PipeOf(ProxiedConnection& connection, Direction direction) {
    return direction == Direction::kToTarget ? connection.to_target : connection.to_client;
  }

  void SetHeld(bool held) {
    MutexLock lock(&mutex_);
    held_ = held;
    Changed();
  }

  void Changed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    counts_.open = static_cast<int64_t>(connections_.size());
    counted_.NotifyAll();
    const uint64_t one = 1;
    if (write(wake_, &one, sizeof(one)) < 0) return;  // it is awake already
  }

  void ResetAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (const auto& connection : connections_) connection->Reset();
    connections_.clear();
    cut_to_target_ = kNoCut;
    cut_to_client_ = kNoCut;
  }

  void Run() {
    std::vector<pollfd> polled;
    while (true) {
      int timeout = -1;
      {
        MutexLock lock(&mutex_);
        if (stopping_) return;
        polled = {{wake_, POLLIN, 0}};
        if (!held_) timeout = WhatToWaitFor(&polled);
      }
      poll(polled.data(), polled.size(), timeout);
      uint64_t ignored = 0;
      if (read(wake_, &ignored, sizeof(ignored)) < 0) ignored = 0;  // nobody woke it
      MutexLock lock(&mutex_);
      if (!stopping_ && !held_) Forward();
    }
  }

  int WhatToWaitFor(std::vector<pollfd>* polled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (listener_ >= 0) polled->push_back({listener_, POLLIN, 0});
    int timeout = -1;
    for (const auto& connection : connections_) {
      if (connection->frozen) continue;
      for (const ProxiedPipe* pipe : {&connection->to_target, &connection->to_client}) {
        timeout = std::max(timeout, pipe->WhatToWaitFor(bytes_per_second_, polled));
      }
    }
    return timeout;
  }

  void Forward() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    AcceptAll();
    Connections left;
    Connections all = std::exchange(connections_, {});
    for (auto& connection : all) {
      if (connection->frozen || Forward(*connection)) left.push_back(std::move(connection));
    }
    connections_ = std::move(left);
    if (cut_to_target_ == 0 || cut_to_client_ == 0) ResetAll();
    counts_.open = static_cast<int64_t>(connections_.size());
    counted_.NotifyAll();
  }

  void AcceptAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (listener_ >= 0) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client < 0) return;
      ++counts_.accepted;
      const int target = Dial(target_);
      if (target < 0) {
        close(client);
        continue;
      }
      SendAtOnce(client);
      connections_.push_back(std::make_unique<ProxiedConnection>(client, target));
    }
  }

  // False when the connection is over.
  bool Forward(ProxiedConnection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Clock::time_point now = Clock::now();
    const int64_t up = connection.to_target.Pump(bytes_per_second_, cut_to_target_, now);
    const int64_t down = connection.to_client.Pump(bytes_per_second_, cut_to_client_, now);
    if (up < 0 || down < 0) {
      connection.Reset();
      return false;
    }
    Count(up, &counts_.to_target, &cut_to_target_);
    Count(down, &counts_.to_client, &cut_to_client_);
    return !connection.to_target.done() || !connection.to_client.done();
  }

  static void Count(int64_t bytes, int64_t* count, int64_t* cut) {
    *count += bytes;
    if (*cut != kNoCut) *cut -= bytes;
  }

  const int port_;
  const sockaddr_in target_;
  const int wake_;
  mutable Mutex mutex_;
  CondVar counted_;
  int listener_ ABSL_GUARDED_BY(mutex_);  // -1: refusing
  Connections connections_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t bytes_per_second_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t cut_to_target_ ABSL_GUARDED_BY(mutex_) = kNoCut;
  int64_t cut_to_client_ ABSL_GUARDED_BY(mutex_) = kNoCut;
  std::thread thread_;  // uses everything above
};

}  // namespace

absl::StatusOr<std::unique_ptr<FaultProxy>> FaultProxy::Start(const std::string& target) {
  int port = 0;
  const size_t colon = target.rfind(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(target.substr(colon + 1), &port)) {
    return absl::InvalidArgumentError(absl::StrCat(target, " is not HOST:PORT"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const int listener, Listen(0));
  return std::make_unique<PollingProxy>(listener, Address(target.substr(0, colon), port));
}

bool FaultProxy::WaitForBytes(Direction direction, int64_t bytes, Deadline deadline) {
  const auto count = [direction](const Counts& counts) {
    return direction == Direction::kToTarget ? counts.to_target : counts.to_client;
  };
  const int64_t enough = count(counts()) + bytes;
  return WaitFor([&](const Counts& now) { return count(now) >= enough; }, deadline);
}

}  // namespace espalier
