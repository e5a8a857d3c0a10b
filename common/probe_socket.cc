#include "common/probe_socket.h"

#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <memory>

namespace espalier {
namespace {

// Linux limits connect by the time limit of sending.
int Connect(int family, const sockaddr* name, socklen_t size, std::chrono::milliseconds timeout) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const timeval limit{.tv_sec = timeout.count() / 1000, .tv_usec = (timeout.count() % 1000) * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  if (connect(fd, name, size) == 0) return fd;
  close(fd);
  return -1;
}

int ConnectUnix(const std::string& path, std::chrono::milliseconds timeout) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) return -1;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  return Connect(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof(name), timeout);
}

int ConnectTcp(const DialAddress& address, std::chrono::milliseconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found) != 0) return -1;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int fd = Connect(one->ai_family, one->ai_addr, one->ai_addrlen, timeout);
    if (fd >= 0) return fd;
  }
  return -1;
}

}  // namespace

ProbeSocket::ProbeSocket(const DialAddress& address, std::chrono::milliseconds timeout)
    : fd_(address.unix_path.empty() ? ConnectTcp(address, timeout)
                                    : ConnectUnix(address.unix_path, timeout)) {}

ProbeSocket::~ProbeSocket() {
  if (fd_ >= 0) close(fd_);
}

NoBrokenPipe::NoBrokenPipe() {
  sigemptyset(&pipe_);
  sigaddset(&pipe_, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
}

NoBrokenPipe::~NoBrokenPipe() {
  if (sigismember(&before_, SIGPIPE) == 1) return;  // whoever blocked it looks after it
  const timespec now{};
  while (sigtimedwait(&pipe_, nullptr, &now) == SIGPIPE) {
  }
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace espalier
