// Finding out that a connection is dead although nobody said so: a router forgot it, the other
// machine lost its power, or somebody unplugged a cable.
//
// TCP alone notices only when it has something to send, and after a quarter of an hour; one who
// only listens never does. HTTP/2 pings do.
#ifndef ESPALIER_COMMON_GRPC_KEEPALIVE_H_
#define ESPALIER_COMMON_GRPC_KEEPALIVE_H_

#include <grpcpp/grpcpp.h>

#include <chrono>

namespace espalier {

// While a call is open: after so long without a sign of the other side it is asked for one, and
// after twice that time without an answer the connection ends: on a slow link the question waits
// behind what was sent before it. gRPC sends at most one ping a second.
inline constexpr std::chrono::milliseconds kKeepalive{10000};

void SetKeepalive(std::chrono::milliseconds keepalive, grpc::ChannelArguments* arguments);

// For a server: answers clients that ask as above, and asks them.
void SetKeepalive(grpc::ServerBuilder* builder, std::chrono::milliseconds keepalive = kKeepalive);

}  // namespace espalier

#endif  // ESPALIER_COMMON_GRPC_KEEPALIVE_H_
