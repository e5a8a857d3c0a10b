#include "worker/transport/testing/local_transport.h"

#include <string>

#include "common/status_macros.h"
#include "worker/transport/checks.h"
#include "worker/transport/mailbox.h"

namespace espalier {
namespace {

constexpr int64_t kCapacity = int64_t{64} << 20;

// A mailbox for each ordered pair of stages.
struct Exchange {
  explicit Exchange(int stages) : size(stages) {
    for (int i = 0; i < stages * stages; ++i) boxes.push_back(std::make_unique<Mailbox>(kCapacity));
  }
  Mailbox& box(int from, int to) { return *boxes[from * size + to]; }

  int size;
  std::vector<std::unique_ptr<Mailbox>> boxes;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(int rank, std::shared_ptr<Exchange> exchange)
      : rank_(rank), exchange_(std::move(exchange)) {}
  ~LocalTransport() override { LocalTransport::Abort(); }

  int rank() const override { return rank_; }
  int size() const override { return exchange_->size; }
  Memory memory() const override { return Memory::kHost; }

  absl::Status Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                    const std::atomic<bool>* cancelled) override {
    ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
    return Explain(exchange_->box(rank_, peer)
                       .Push({.tag = tag,
                              .bytes = std::string(static_cast<const char*>(data),
                                                   static_cast<size_t>(bytes))},
                             cancelled));
  }

  absl::Status Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                       const std::atomic<bool>* cancelled) override {
    ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
    const absl::StatusOr<Mailbox::Message> message =
        exchange_->box(peer, rank_).Pop(tag, cancelled);
    return message.ok() ? Deliver(*message, data, bytes) : Explain(message.status());
  }

  void Abort() override {
    aborted_ = true;
    for (int peer = 0; peer < size(); ++peer) {
      exchange_->box(peer, rank_).Close(absl::UnavailableError("the link is lost"), true);
      exchange_->box(rank_, peer).Close(absl::UnavailableError("the link is lost"), false);
    }
  }

 private:
  absl::Status Explain(const absl::Status& status) const {
    return !status.ok() && aborted_ ? absl::AbortedError("the transport was aborted") : status;
  }

  const int rank_;
  const std::shared_ptr<Exchange> exchange_;
  std::atomic<bool> aborted_ = false;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> MakeLocalTransports(int size) {
  const auto exchange = std::make_shared<Exchange>(size);
  std::vector<std::unique_ptr<Transport>> transports;
  transports.reserve(size);
  for (int rank = 0; rank < size; ++rank) {
    transports.push_back(std::make_unique<LocalTransport>(rank, exchange));
  }
  return transports;
}

}  // namespace espalier
