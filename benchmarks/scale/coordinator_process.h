// The real espalier-coordinator as a process of its own, so that its memory and CPU time are its
// own.
#ifndef ESPALIER_BENCHMARKS_SCALE_COORDINATOR_PROCESS_H_
#define ESPALIER_BENCHMARKS_SCALE_COORDINATOR_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"

namespace espalier::scale {

// A TCP port of the loopback interface that nobody listens on.
int FreePort();

class CoordinatorProcess {
 public:
  struct Options {
    std::string program;
    std::filesystem::path folder;  // for state/ and coordinator.log
    int port = 0;
    int status_port = 0;
    int lease_ms = 10000;
  };

  explicit CoordinatorProcess(Options options) : options_(std::move(options)) {}
  ~CoordinatorProcess() { Kill(); }
  CoordinatorProcess(const CoordinatorProcess&) = delete;
  CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;

  absl::Status Start();
  void Kill();  // as a power failure would

  double CpuSeconds() const;  // used so far
  double ResidentMebibytes() const;
  double MostResidentMebibytes() const;

 private:
  const Options options_;
  pid_t pid_ = 0;
};

// Bytes of this process's TCP connections to `port` so far, with HTTP/2's framing, without TCP's
// and IP's headers.
struct WireBytes {
  int64_t up = 0;
  int64_t down = 0;
};
WireBytes CountWireBytes(int port);

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_COORDINATOR_PROCESS_H_
