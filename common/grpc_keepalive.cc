#include "common/grpc_keepalive.h"

namespace espalier {
namespace {

// gRPC's own defaults stop after two pings without data and take more often than one in five
// minutes for an attack; a watcher sends nothing for hours.
constexpr int kNoLimit = 0;
constexpr int kLeastPingIntervalMilliseconds = 100;

}  // namespace

void SetKeepalive(std::chrono::milliseconds keepalive, grpc::ChannelArguments* arguments) {
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(keepalive.count()));
  arguments->SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(2 * keepalive.count()));
  arguments->SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, kNoLimit);
}

void SetKeepalive(grpc::ServerBuilder* builder, std::chrono::milliseconds keepalive) {
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kLeastPingIntervalMilliseconds);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kNoLimit);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, kNoLimit);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(keepalive.count()));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              static_cast<int>(2 * keepalive.count()));
}

}  // namespace espalier
