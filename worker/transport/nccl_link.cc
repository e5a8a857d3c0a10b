#include "worker/transport/nccl_link.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// Of the messages that wait; those of control messages are never reached.
constexpr int64_t kCapacity = int64_t{64} << 20;
// How soon a cancellation, which wakes nobody, is noticed.
constexpr std::chrono::milliseconds kPoll{20};
// How soon the end of a transfer is noticed: little beside the transfer of a batch.
constexpr std::chrono::microseconds kNcclPoll{50};

// A peer that died breaks NCCL too, and the stream may tell it later.
constexpr std::chrono::seconds kLossPatience{1};

absl::Status BadMessage() {
  return absl::UnavailableError("the other stage sent what is no message of this version");
}

}  // namespace

NcclLink::NcclLink(int peer, GrpcTransport* control, const NcclOptions* options)
    : peer_(peer),
      control_(*control),
      options_(*options),
      announcements_(kCapacity),
      answers_(kCapacity),
      router_([this] { Route(); }) {}

NcclLink::~NcclLink() {
  router_.join();  // ends with the control channel, and closes the link
  if (sender_.joinable()) sender_.join();
}

void NcclLink::Close(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (!closed_.ok()) return;
    closed_ = status;
    changed_.NotifyAll();
  }
  announcements_.Close(status, /*drop=*/true);
  answers_.Close(status, /*drop=*/true);
}

absl::Status NcclLink::status() const {
  MutexLock lock(&mutex_);
  return closed_;
}

void NcclLink::Route() {
  absl::Status status;
  while (status.ok()) {
    absl::StatusOr<Mailbox::Message> message = control_.ReceiveAny(peer_);
    if (!message.ok()) {
      status = message.status();
      break;
    }
    v1::StageControl control;
    if (!control.ParseFromString(message->bytes)) control.Clear();
    if (control.has_announcement()) {
      status = announcements_.Push(*std::move(message), nullptr);
    } else if (control.has_answer()) {
      status = answers_.Push(*std::move(message), nullptr);
    } else if (control.control_case() == v1::StageControl::kFailure) {
      status = absl::UnavailableError(absl::StrCat("stage ", peer_, ": ", control.failure()));
    } else {
      status = BadMessage();
      Fail(status);
    }
  }
  Close(status);
}

absl::Status NcclLink::Tell(const MessageTag& tag, const v1::StageControl& control) {
  const std::string bytes = control.SerializeAsString();
  return control_.Send(peer_, tag, bytes.data(), static_cast<int64_t>(bytes.size()), nullptr);
}

// --- the way out

absl::Status NcclLink::Send(const MessageTag& tag, const void* data, int64_t bytes,
                            const std::atomic<bool>* cancelled) {
  ESPALIER_RETURN_IF_ERROR(StartSender());
  ESPALIER_RETURN_IF_ERROR(AwaitRoom(bytes, cancelled));
  // The caller's thread waits for its device here. Were the message announced earlier, the
  // receiver's transfer would occupy its GPU for as long as this one still computes.
  ESPALIER_ASSIGN_OR_RETURN(DeviceBuffer copy,
                            DeviceBuffer::Allocate(options_.module, options_.device, bytes));
  ESPALIER_RETURN_IF_ERROR(options_.module.Copy(options_.device, copy.data(), data, bytes));
  v1::StageControl control;
  control.mutable_announcement()->set_bytes(bytes);
  {
    MutexLock lock(&mutex_);
    if (!closed_.ok()) return closed_;
    control.mutable_announcement()->set_nccl_id(id_);
    queue_.push_back({.tag = tag, .bytes = bytes, .data = std::move(copy)});
    queued_bytes_ += bytes;
    changed_.NotifyAll();
  }
  return Tell(tag, control);
}

absl::Status NcclLink::StartSender() {
  MutexLock lock(&mutex_);
  if (!closed_.ok()) return closed_;
  if (!id_.empty()) return absl::OkStatus();
  ESPALIER_ASSIGN_OR_RETURN(id_, NcclPair::UniqueId(options_.module));
  sender_ = std::thread([this] { Deliver(); });
  return absl::OkStatus();
}

absl::Status NcclLink::AwaitRoom(int64_t bytes, const std::atomic<bool>* cancelled) {
  MutexLock lock(&mutex_);
  while (closed_.ok() && !queue_.empty() && queued_bytes_ + bytes > kCapacity) {
    if (cancelled != nullptr && *cancelled) return absl::CancelledError("stopped on request");
    changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + kPoll);
  }
  return closed_;
}

void NcclLink::Deliver() {
  absl::Status status;
  while (status.ok()) {
    status = DeliverFirst();
    if (!status.ok()) break;
    MutexLock lock(&mutex_);
    queued_bytes_ -= queue_.front().bytes;
    queue_.pop_front();
    changed_.NotifyAll();
  }
  Close(status);
  out_.pair.reset();
}

absl::Status NcclLink::DeliverFirst() {
  ESPALIER_ASSIGN_OR_RETURN(const Mailbox::Message message, answers_.PopAny());
  v1::StageControl control;
  control.ParseFromString(message.bytes);  // Route has tried
  const Outgoing* first = nullptr;
  std::string id;
  {
    MutexLock lock(&mutex_);
    // Only this thread takes from the queue, and what is added moves no element.
    if (!queue_.empty() && queue_.front().tag == message.tag) first = &queue_.front();
    id = id_;
  }
  if (first == nullptr) {
    Fail(BadMessage());
    return status();
  }
  if (!control.answer().accepted() || first->bytes == 0) return absl::OkStatus();
  return Transfer(&out_, id, first->data.data(), first->bytes);
}

// --- the way in

absl::Status NcclLink::Receive(const MessageTag& tag, void* data, int64_t bytes,
                               const std::atomic<bool>* cancelled) {
  // Work that still uses the memory must end before it is written. Before the message is accepted:
  // the sender's transfer would occupy its GPU for as long.
  ESPALIER_RETURN_IF_ERROR(options_.module.FinishStream(options_.device));
  ESPALIER_ASSIGN_OR_RETURN(const v1::StageControl::Announcement announcement,
                            Expect(tag, cancelled));
  if (announcement.bytes() != bytes) {
    ESPALIER_RETURN_IF_ERROR(Answer(tag, false));
    return absl::InvalidArgumentError(absl::StrCat("the other stage sent ", announcement.bytes(),
                                                   " bytes for task ", tag.task, ", and ", bytes,
                                                   " were expected"));
  }
  ESPALIER_RETURN_IF_ERROR(Answer(tag, true));
  if (bytes == 0) return absl::OkStatus();
  return Transfer(&in_, announcement.nccl_id(), data, bytes);
}

absl::StatusOr<v1::StageControl::Announcement> NcclLink::Expect(
    const MessageTag& tag, const std::atomic<bool>* cancelled) {
  while (true) {
    ESPALIER_ASSIGN_OR_RETURN(const Mailbox::Message message,
                              announcements_.PopUpTo(tag, cancelled));
    if (message.tag == tag) {
      v1::StageControl control;
      control.ParseFromString(message.bytes);  // Route has tried
      return control.announcement();
    }
    ESPALIER_RETURN_IF_ERROR(Answer(message.tag, false));
  }
}

absl::Status NcclLink::Answer(const MessageTag& tag, bool accepted) {
  v1::StageControl control;
  control.mutable_answer()->set_accepted(accepted);
  return Tell(tag, control);
}

// --- both

absl::Status NcclLink::Transfer(Way* way, const std::string& id, void* data, int64_t bytes) {
  absl::Status outcome = TryTransfer(way, id, data, bytes);
  if (outcome.ok()) {
    way->carried = true;
    return outcome;
  }
  if (!way->carried) AwaitLoss();
  if (status().ok()) {
    const std::string reason = absl::StrCat("NCCL between stages ", control_.rank(), " and ", peer_,
                                            ": ", outcome.message());
    Fail(absl::UnavailableError(reason));
    if (!way->carried && options_.on_unusable) options_.on_unusable(reason);
  }
  way->pair.reset();
  return status();
}

void NcclLink::AwaitLoss() {
  const auto deadline = std::chrono::steady_clock::now() + kLossPatience;
  MutexLock lock(&mutex_);
  while (closed_.ok() && changed_.WaitUntil(&mutex_, deadline)) {
  }
}

void NcclLink::Fail(const absl::Status& status) {
  v1::StageControl control;
  control.set_failure(std::string(status.message()));
  Tell({}, control).IgnoreError();
  Close(status);
}

absl::Status NcclLink::TryTransfer(Way* way, const std::string& id, void* data, int64_t bytes) {
  if (way->pair == nullptr) {
    ESPALIER_ASSIGN_OR_RETURN(way->pair,
                              NcclPair::Open(options_.module, options_.device, id, way->end));
    ESPALIER_RETURN_IF_ERROR(Finish(way->pair.get(), options_.set_up_patience));
  }
  const bool sends = way->end == NcclPair::End::kSender;
  ESPALIER_RETURN_IF_ERROR(sends ? way->pair->Send(data, bytes) : way->pair->Receive(data, bytes));
  return Finish(way->pair.get(), options_.transfer_patience);
}

absl::Status NcclLink::Finish(NcclPair* pair, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    ESPALIER_ASSIGN_OR_RETURN(const bool done, pair->Poll());
    if (done) return absl::OkStatus();
    ESPALIER_RETURN_IF_ERROR(status());
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::UnavailableError(absl::StrCat("nothing happened for ", patience.count(), " ms"));
    }
    std::this_thread::sleep_for(kNcclPoll);
  }
}

}  // namespace espalier
