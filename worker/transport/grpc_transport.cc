#include "worker/transport/grpc_transport.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_credentials.h"
#include "common/grpc_keepalive.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "espalier/v1/stage.grpc.pb.h"
#include "worker/transport/checks.h"

namespace espalier {
namespace {

// What may wait on either side of a link, beside one message.
constexpr int64_t kCapacity = int64_t{64} << 20;
constexpr int64_t kChunkBytes = int64_t{1} << 20;
// All stages hear of the replica at about the same time, and dial for ten seconds at most.
constexpr std::chrono::seconds kOfferPatience{30};
constexpr std::chrono::milliseconds kPoll{20};

std::shared_ptr<grpc::Channel> MakeStageChannel(const std::string& address,
                                                const ConnectionSecurity& security,
                                                std::chrono::milliseconds keepalive) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  SetKeepalive(keepalive, &arguments);
  return MakeChannel(address, security, arguments);
}

}  // namespace

// One stream to a peer, and the thread that writes to it.
class GrpcTransport::Outgoing {
 public:
  // `inbox` takes what comes from the same peer: whoever waits for it must learn, too, that nothing
  // reaches the peer any more.
  Outgoing(const ReplicaPlace& place, int peer, const ConnectionSecurity& security,
           std::chrono::milliseconds keepalive, Mailbox* inbox)
      : address_(place.addresses[peer]),
        peer_(peer),
        inbox_(inbox),
        stub_(v1::StageService::NewStub(MakeStageChannel(address_, security, keepalive))),
        box_(kCapacity) {
    first_.set_epoch(place.epoch);
    first_.set_secret(place.secret);
    first_.set_from(place.rank);
    WriteOffer(place.offer, first_.mutable_offer());
    thread_ = std::thread([this] { Run(); });
  }
  ~Outgoing() {
    Abort();
    thread_.join();
  }

  Mailbox& box() { return box_; }

  // Waits until the peer reads the stream. What is sent before that could get lost with the link
  // without anybody's notice: the sender has sent it, and the peer knows of no link. Afterwards the
  // peer learns of a loss, and whoever waits for a message there with it.
  absl::Status AwaitOpen(const std::atomic<bool>* cancelled) {
    MutexLock lock(&mutex_);
    while (!open_ && lost_.ok()) {
      if (cancelled != nullptr && *cancelled) return absl::CancelledError("stopped on request");
      changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kPoll);
    }
    return lost_;
  }

  void Abort() {
    box_.Close(absl::AbortedError("the transport was aborted"), /*drop=*/true);
    context_.TryCancel();
  }

 private:
  void Run() {
    v1::StageReceipt receipt;
    const auto stream = stub_->Stream(&context_, &receipt);
    bool good = stream->Write(first_) && PeerReads(stream.get());
    while (good) {
      const absl::StatusOr<Mailbox::Message> message = box_.PopAny();
      if (!message.ok()) break;
      good = Write(stream.get(), *message);
    }
    stream->WritesDone();
    const absl::Status ended = FromGrpcStatus(stream->Finish());
    const absl::Status lost = absl::UnavailableError(absl::StrCat(
        "the link to stage ", peer_, " at ", address_, " is lost: ",
        ended.ok() ? std::string("it closed the stream") : std::string(ended.message())));
    box_.Close(lost, /*drop=*/true);
    inbox_->Close(lost, /*drop=*/false);
    MutexLock lock(&mutex_);
    lost_ = lost;
    changed_.NotifyAll();
  }

  bool PeerReads(grpc::ClientWriter<v1::StageChunk>* stream) {
    stream->WaitForInitialMetadata();
    const auto& metadata = context_.GetServerInitialMetadata();
    if (metadata.find(kStageStreamOpen) == metadata.end()) return false;
    MutexLock lock(&mutex_);
    open_ = true;
    changed_.NotifyAll();
    return true;
  }

  static bool Write(grpc::ClientWriterInterface<v1::StageChunk>* stream,
                    const Mailbox::Message& message) {
    const auto total = static_cast<int64_t>(message.bytes.size());
    for (int64_t offset = 0; offset < total || offset == 0; offset += kChunkBytes) {
      v1::StageChunk chunk;
      chunk.set_task(message.tag.task);
      chunk.set_index(message.tag.index);
      chunk.set_total_bytes(total);
      chunk.set_data(message.bytes.data() + offset, std::min(kChunkBytes, total - offset));
      if (!stream->Write(chunk)) return false;
    }
    return true;
  }

  const std::string address_;
  const int peer_;
  Mailbox* const inbox_;
  const std::unique_ptr<v1::StageService::Stub> stub_;
  grpc::ClientContext context_;
  Mailbox box_;
  v1::StageChunk first_;
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

GrpcTransport::GrpcTransport(ReplicaPlace place, ConnectionSecurity security,
                             std::chrono::milliseconds keepalive)
    : place_(std::move(place)), security_(std::move(security)), keepalive_(keepalive) {
  for (int peer = 0; peer < size(); ++peer) {
    inboxes_.push_back(std::make_unique<Mailbox>(kCapacity));
  }
  if (!place_.offer.HasGpu()) return;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer != place_.rank) OutgoingTo(peer);
  }
}

GrpcTransport::~GrpcTransport() { Abort(); }

GrpcTransport::Outgoing& GrpcTransport::OutgoingTo(int peer) {
  MutexLock lock(&mutex_);
  std::unique_ptr<Outgoing>& outgoing = outgoing_[peer];
  if (outgoing == nullptr) {
    outgoing =
        std::make_unique<Outgoing>(place_, peer, security_, keepalive_, inboxes_[peer].get());
  }
  if (aborted_) outgoing->Abort();
  return *outgoing;
}

absl::Status GrpcTransport::Send(int peer, const MessageTag& tag, const void* data, int64_t bytes,
                                 const std::atomic<bool>* cancelled) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  Outgoing& outgoing = OutgoingTo(peer);
  ESPALIER_RETURN_IF_ERROR(Explain(outgoing.AwaitOpen(cancelled)));
  return Explain(outgoing.box().Push(
      {.tag = tag,
       .bytes = std::string(static_cast<const char*>(data), static_cast<size_t>(bytes))},
      cancelled));
}

absl::Status GrpcTransport::Receive(int peer, const MessageTag& tag, void* data, int64_t bytes,
                                    const std::atomic<bool>* cancelled) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  const absl::StatusOr<Mailbox::Message> message = inboxes_[peer]->Pop(tag, cancelled);
  return message.ok() ? Deliver(*message, data, bytes) : Explain(message.status());
}

absl::Status GrpcTransport::Explain(const absl::Status& status) const {
  return !status.ok() && aborted_ ? absl::AbortedError("the transport was aborted") : status;
}

void GrpcTransport::Abort() {
  aborted_ = true;
  for (const auto& inbox : inboxes_) {
    inbox->Close(absl::AbortedError("the transport was aborted"), /*drop=*/true);
  }
  MutexLock lock(&mutex_);
  for (const auto& [peer, outgoing] : outgoing_) outgoing->Abort();
}

absl::StatusOr<Mailbox::Message> GrpcTransport::ReceiveAny(int peer) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  absl::StatusOr<Mailbox::Message> message = inboxes_[peer]->PopAny();
  return message.ok() ? std::move(message) : Explain(message.status());
}

absl::StatusOr<std::vector<StageOffer>> GrpcTransport::AwaitOffers(
    const std::atomic<bool>* cancelled) {
  const auto deadline = std::chrono::steady_clock::now() + kOfferPatience;
  MutexLock lock(&mutex_);
  while (static_cast<int>(offers_.size()) + 1 < size()) {
    const auto now = std::chrono::steady_clock::now();
    if (aborted_) return absl::AbortedError("the transport was aborted");
    if (cancelled != nullptr && *cancelled) return absl::CancelledError("stopped on request");
    if (now >= deadline) {
      int silent = 0;
      while (silent == rank() || offers_.contains(silent)) ++silent;
      return absl::UnavailableError(absl::StrCat("stage ", silent, " at ", place_.addresses[silent],
                                                 " has not opened its link to this one"));
    }
    changed_.WaitUntil(&mutex_, now + kPoll);
  }
  std::vector<StageOffer> all;
  all.reserve(place_.addresses.size());
  for (int stage = 0; stage < size(); ++stage) {
    all.push_back(stage == rank() ? place_.offer : offers_.at(stage));
  }
  return all;
}

absl::StatusOr<Mailbox*> GrpcTransport::OpenInbox(int peer, StageOffer offer) {
  ESPALIER_RETURN_IF_ERROR(CheckPeer(*this, peer));
  const bool asks = offer.HasGpu();
  {
    MutexLock lock(&mutex_);
    if (!offers_.emplace(peer, std::move(offer)).second) {
      return absl::FailedPreconditionError(
          absl::StrCat("stage ", peer, " has opened its stream already"));
    }
    changed_.NotifyAll();
  }
  if (asks) OutgoingTo(peer);
  return inboxes_[peer].get();
}

}  // namespace espalier
