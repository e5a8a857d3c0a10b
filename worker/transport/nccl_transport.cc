#include "worker/transport/nccl_transport.h"

#include <utility>

#include "common/status_macros.h"
#include "worker/transport/checks.h"
#include "worker/transport/nccl_link.h"

namespace espalier {

NcclTransport::NcclTransport(std::shared_ptr<GrpcTransport> control, NcclOptions options)
    : control_(std::move(control)), options_(std::move(options)) {
  for (int peer = 0; peer < control_->size(); ++peer) {
    links_.push_back(peer == control_->rank()
                         ? nullptr
                         : std::make_unique<NcclLink>(peer, control_.get(), &options_));
  }
}

NcclTransport::~NcclTransport() { Abort(); }

absl::Status NcclTransport::Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                                 const std::atomic<bool>* cancelled) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  return links_[peer]->Send(tag, data, bytes, cancelled);
}

absl::Status NcclTransport::Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                                    const std::atomic<bool>* cancelled) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  return links_[peer]->Receive(tag, data, bytes, cancelled);
}

void NcclTransport::Abort() {
  for (const auto& link : links_) {
    if (link != nullptr) link->Close(absl::AbortedError("the transport was aborted"));
  }
  control_->Abort();
}

}  // namespace espalier
