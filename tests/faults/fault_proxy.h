// A TCP proxy that breaks connections on command: between a worker or a client and the coordinator,
// or between the stages of a model, it does what networks do.
//
//   auto proxy = FaultProxy::Start("127.0.0.1:7070");
//   StartWorker((*proxy)->address());
//   (*proxy)->WaitForBytes(FaultProxy::Direction::kToTarget, 1000, deadline);
//   (*proxy)->Reset();
#ifndef ESPALIER_TESTS_FAULTS_FAULT_PROXY_H_
#define ESPALIER_TESTS_FAULTS_FAULT_PROXY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace espalier {

// Thread-safe. What the kernel already has on its way still arrives after a command.
class FaultProxy {
 public:
  using Deadline = std::chrono::steady_clock::time_point;
  enum class Direction { kToTarget, kToClient };

  struct Counts {
    int64_t accepted = 0;   // connections so far
    int64_t open = 0;       // of them
    int64_t to_target = 0;  // bytes so far
    int64_t to_client = 0;
  };

  // Listens on any port of 127.0.0.1. `target` is an address of this machine: "127.0.0.1:PORT", or
  // another one of 127.0.0.0/8.
  static absl::StatusOr<std::unique_ptr<FaultProxy>> Start(const std::string& target);
  virtual ~FaultProxy() = default;  // resets everything

  // "127.0.0.1:PORT"; stays the same.
  virtual std::string address() const = 0;
  virtual Counts counts() const = 0;
  // False when the deadline passed before.
  virtual bool WaitFor(const std::function<bool(const Counts&)>& condition, Deadline deadline) = 0;
  // Until so many more bytes went that way.
  bool WaitForBytes(Direction direction, int64_t bytes, Deadline deadline);

  // All connections end with a reset, at both ends.
  virtual void Reset() = 0;
  // No byte more that way over the connections of now; whoever reads there sees the end.
  virtual void HalfClose(Direction direction) = 0;
  // The connections of now stay open, and nothing passes over them any more, not even their end:
  // what a router does that has forgotten them. New ones are not concerned.
  virtual void Freeze() = 0;
  // A partition: until Release nothing passes; new connections are taken, and wait.
  virtual void Hold() = 0;
  virtual void Release() = 0;
  // Bytes a second, for each direction of each connection. 0: as fast as it goes.
  virtual void Throttle(int64_t bytes_per_second) = 0;
  // Until Accept, new connections are refused.
  virtual void Refuse() = 0;
  virtual absl::Status Accept() = 0;
  // As Reset, once exactly so many more bytes have gone that way, over all connections together.
  virtual void CutAfter(Direction direction, int64_t bytes) = 0;
};

}  // namespace espalier

#endif  // ESPALIER_TESTS_FAULTS_FAULT_PROXY_H_
