// How the stages of one replica exchange tensors: the only thing that differs between gRPC, NCCL
// and the memory of one process.
//
// This header knows no libtorch, no gRPC and no CUDA. Every implementation passes the suite in
// conformance_test.cc.
#ifndef ESPALIER_WORKER_TRANSPORT_TRANSPORT_H_
#define ESPALIER_WORKER_TRANSPORT_TRANSPORT_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"

namespace espalier {

// What a message belongs to. On each link tags only grow: tasks in the order in which every stage
// works on them, and within a task the index.
struct MessageTag {
  uint64_t task = 0;
  int64_t index = 0;

  friend bool operator==(const MessageTag&, const MessageTag&) = default;
  friend bool operator<(const MessageTag& a, const MessageTag& b) {
    return a.task != b.task ? a.task < b.task : a.index < b.index;
  }
};

// One stage's end of all links of its replica. Of each kind of call one at a time, from any thread;
// Abort at any time.
//
// Errors: CANCELLED when *cancelled became true (polled; may be null); ABORTED after Abort, or when
// the peer has gone on to a later message than the one that is waited for; UNAVAILABLE when the
// link is lost; INVALID_ARGUMENT when the message has another size than was expected. After
// UNAVAILABLE the transport is of no more use. RESOURCE_EXHAUSTED from Send when there is no device
// memory for the message.
//
// Device memory: a call begins after all work on libtorch's current stream of the calling thread,
// and when it returns, `data` may be read, written or freed in any order.
class Transport {
 public:
  enum class Memory { kHost, kDevice };

  virtual ~Transport() = default;

  virtual int rank() const = 0;       // this stage's number
  virtual int size() const = 0;       // stages of the replica
  virtual Memory memory() const = 0;  // where the pointers given to Send and Receive point

  // Returns when `data` may be used again; the message may still be on its way. Blocks while the
  // peer is far behind.
  virtual absl::Status Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                            const std::atomic<bool>* cancelled) = 0;
  // Waits for the peer's message with this tag. Messages with smaller tags, whose receiver gave up,
  // are dropped.
  virtual absl::Status Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                               const std::atomic<bool>* cancelled) = 0;

  // Ends all calls, on this side, now and from now on. The peers find the link lost.
  virtual void Abort() = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_TRANSPORT_H_
