#include "worker/transport/stage_server.h"

#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_credentials.h"
#include "common/grpc_keepalive.h"
#include "common/grpc_status.h"
#include "common/listen_address.h"
#include "common/status_macros.h"
#include "espalier/v1/stage.grpc.pb.h"

namespace espalier {
namespace {

// A peer may hear of the replica before this worker does.
constexpr std::chrono::seconds kPatience{10};
// Activations of 16,384 rows of a 65B model are 512 MiB.
constexpr int64_t kMostBytes = int64_t{4} << 30;

bool SameSecret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

class StageServerImpl final : public StageServer, public v1::StageService::Service {
 public:
  ~StageServerImpl() override {
    Serve(nullptr);
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  absl::Status Listen(const ListenAddress& address, const std::optional<TlsServer>& tls,
                      std::chrono::milliseconds keepalive) {
    ESPALIER_RETURN_IF_ERROR(ProbeListen(address));
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    SetKeepalive(&builder, keepalive);
    int port = 0;
    builder.AddListeningPort(address.ToString(), MakeServerCredentials(tls), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", address.ToString()));
    }
    address_ = address.ToString(port);
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }

  void Serve(std::shared_ptr<GrpcTransport> transport) override {
    MutexLock lock(&mutex_);
    if (current_ != nullptr && current_ != transport) current_->Abort();
    current_ = std::move(transport);
    changed_.NotifyAll();
  }

  grpc::Status Stream(grpc::ServerContext* context, grpc::ServerReader<v1::StageChunk>* reader,
                      v1::StageReceipt*) override {
    v1::StageChunk first;
    if (!reader->Read(&first)) return ToGrpcStatus(absl::InvalidArgumentError("an empty stream"));
    return ToGrpcStatus(Take(first, context, reader));
  }

 private:
  absl::Status Take(const v1::StageChunk& first, grpc::ServerContext* context,
                    grpc::ServerReader<v1::StageChunk>* reader) {
    ESPALIER_ASSIGN_OR_RETURN(const std::shared_ptr<GrpcTransport> transport, Await(first));
    ESPALIER_ASSIGN_OR_RETURN(Mailbox * inbox,
                              transport->OpenInbox(first.from(), ReadOffer(first.offer())));
    context->AddInitialMetadata(kStageStreamOpen, "");
    reader->SendInitialMetadata();
    absl::Status status;
    while (status.ok()) {
      Mailbox::Message message;
      const absl::StatusOr<bool> more = ReadMessage(reader, &message);
      if (!more.ok() || !*more) {
        status = more.status();
        break;
      }
      status = inbox->Push(std::move(message), nullptr);
    }
    inbox->Close(
        absl::UnavailableError(absl::StrCat("the link from stage ", first.from(), " is lost")),
        /*drop=*/false);
    return status;
  }

  // The transport that the stream belongs to.
  absl::StatusOr<std::shared_ptr<GrpcTransport>> Await(const v1::StageChunk& first) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    MutexLock lock(&mutex_);
    while (!stopping_ && (current_ == nullptr || current_->place().epoch < first.epoch())) {
      if (!changed_.WaitUntil(&mutex_, deadline)) break;
    }
    if (current_ == nullptr || current_->place().epoch != first.epoch() ||
        !SameSecret(current_->place().secret, first.secret())) {
      return absl::AbortedError("this worker is no stage of that replica (any more)");
    }
    return current_;
  }

  // False at the end of the stream.
  static absl::StatusOr<bool> ReadMessage(grpc::ServerReader<v1::StageChunk>* reader,
                                          Mailbox::Message* message) {
    v1::StageChunk chunk;
    int64_t total = 0;
    do {
      if (!reader->Read(&chunk)) return false;
      if (message->bytes.empty()) {
        total = chunk.total_bytes();
        if (total < 0 || total > kMostBytes) {
          return absl::InvalidArgumentError(absl::StrCat("a message of ", total, " bytes"));
        }
        message->tag = {.task = chunk.task(), .index = chunk.index()};
        message->bytes.reserve(static_cast<size_t>(total));
      }
      if (static_cast<int64_t>(message->bytes.size() + chunk.data().size()) > total) {
        return absl::InvalidArgumentError("a message that is longer than it says");
      }
      message->bytes += chunk.data();
    } while (static_cast<int64_t>(message->bytes.size()) < total);
    return true;
  }

  std::string address_;
  Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<GrpcTransport> current_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<StageServer>> StageServer::Start(
    const std::string& listen, const std::optional<TlsServer>& tls,
    std::chrono::milliseconds keepalive) {
  ESPALIER_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(listen));
  auto server = std::make_unique<StageServerImpl>();
  ESPALIER_RETURN_IF_ERROR(server->Listen(address, tls, keepalive));
  return server;
}

}  // namespace espalier
