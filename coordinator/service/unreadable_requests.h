// Words for requests that are no messages: gRPC refuses them before any service sees them, with
// INTERNAL or UNIMPLEMENTED and nothing to read.
#ifndef ESPALIER_COORDINATOR_SERVICE_UNREADABLE_REQUESTS_H_
#define ESPALIER_COORDINATOR_SERVICE_UNREADABLE_REQUESTS_H_

#include <grpcpp/grpcpp.h>

namespace espalier {

// All calls of the server to be built end with INVALID_ARGUMENT and a reason in that case.
void ExplainUnreadableRequests(grpc::ServerBuilder* builder);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_UNREADABLE_REQUESTS_H_
