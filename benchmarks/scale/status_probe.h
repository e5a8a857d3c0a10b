// Somebody who looks at the status endpoint all the time, and how long it takes.
#ifndef ESPALIER_BENCHMARKS_SCALE_STATUS_PROBE_H_
#define ESPALIER_BENCHMARKS_SCALE_STATUS_PROBE_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "benchmarks/scale/figures.h"

namespace espalier::scale {

// The body of the answer; none unless it is a 200.
std::optional<std::string> FetchStatus(int port, const std::string& path);

// Thread-safe.
class StatusProbe {
 public:
  // Both addresses, four times a second.
  StatusProbe(int port, const std::string& job);
  ~StatusProbe();

  Durations& status() { return status_; }
  Durations& job() { return job_; }

 private:
  void Run(const std::string& path, Durations* durations);

  const int port_;
  std::atomic<bool> stopping_ = false;
  Durations status_;
  Durations job_;
  std::thread status_thread_;
  std::thread job_thread_;
};

}  // namespace espalier::scale

#endif  // ESPALIER_BENCHMARKS_SCALE_STATUS_PROBE_H_
