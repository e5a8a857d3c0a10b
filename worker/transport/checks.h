// What all transports refuse alike.
#ifndef ESPALIER_WORKER_TRANSPORT_CHECKS_H_
#define ESPALIER_WORKER_TRANSPORT_CHECKS_H_

#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/transport/mailbox.h"
#include "worker/transport/transport.h"

namespace espalier {

// INVALID_ARGUMENT unless `peer` is another stage of the replica.
inline absl::Status CheckPeer(const Transport& transport, int peer) {
  if (peer >= 0 && peer < transport.size() && peer != transport.rank()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("stage ", transport.rank(), " of ", transport.size(), " has no peer ", peer));
}

// Copies a message that has the expected size.
inline absl::Status Deliver(const Mailbox::Message& message, void* data, int64_t bytes) {
  if (static_cast<int64_t>(message.bytes.size()) != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("the other stage sent ", message.bytes.size(),
                                                   " bytes for task ", message.tag.task, ", and ",
                                                   bytes, " were expected"));
  }
  std::memcpy(data, message.bytes.data(), message.bytes.size());
  return absl::OkStatus();
}

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_CHECKS_H_
