// A connected socket for a probe: blocking, with a time limit for every step.
#ifndef ESPALIER_COMMON_PROBE_SOCKET_H_
#define ESPALIER_COMMON_PROBE_SOCKET_H_

#include <signal.h>

#include <chrono>

#include "common/dial_address.h"

namespace espalier {

class ProbeSocket {
 public:
  ProbeSocket(const DialAddress& address, std::chrono::milliseconds timeout);
  ~ProbeSocket();
  ProbeSocket(const ProbeSocket&) = delete;
  ProbeSocket& operator=(const ProbeSocket&) = delete;

  int fd() const { return fd_; }  // -1: nobody there

 private:
  int fd_ = -1;
};

// While it lives, writing to a broken connection is no signal for this thread.
class NoBrokenPipe {
 public:
  NoBrokenPipe();
  ~NoBrokenPipe();
  NoBrokenPipe(const NoBrokenPipe&) = delete;
  NoBrokenPipe& operator=(const NoBrokenPipe&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_PROBE_SOCKET_H_
