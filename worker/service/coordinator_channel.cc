#include "worker/service/coordinator_channel.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/status_macros.h"
#include "espalier/v1/worker.grpc.pb.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

// gRPC waits without a way to interrupt it, so it waits in slices.
constexpr std::chrono::milliseconds kSlice{50};

// A channel does not say why it has no connection; a call that does not wait for one does.
absl::Status ReasonOfFailure(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  const auto stream = espalier::v1::WorkerService::NewStub(channel)->Attach(&context);
  espalier::v1::CoordinatorMessage message;
  stream->Read(&message);
  context.TryCancel();
  return FromGrpcStatus(stream->Finish());
}

}  // namespace

std::shared_ptr<grpc::Channel> MakeCoordinatorChannel(const std::string& address,
                                                      const ConnectionSecurity& security,
                                                      std::chrono::milliseconds keepalive) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // A proxy for the web does not carry these streams.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Workers of one process have a connection each, as workers of several processes do.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);  // also limits one attempt
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  SetKeepalive(keepalive, &arguments);
  return MakeChannel(address, security, arguments);
}

absl::Status AwaitConnection(const std::shared_ptr<grpc::Channel>& channel,
                             Clock::time_point deadline, const std::function<bool()>& stop,
                             ConnectionDoctor* doctor) {
  while (!stop()) {
    if (channel->WaitForConnected(std::chrono::system_clock::now() + kSlice)) {
      return absl::OkStatus();
    }
    ESPALIER_RETURN_IF_ERROR(doctor->Examine(*channel));
    if (Clock::now() < deadline) continue;
    return absl::UnavailableError(ReasonOfFailure(channel).message());
  }
  return absl::CancelledError("stopped");
}

}  // namespace espalier
