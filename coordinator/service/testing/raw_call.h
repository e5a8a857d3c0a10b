// A call of any method with any bytes, as no generated stub would make it.
#ifndef ESPALIER_COORDINATOR_SERVICE_TESTING_RAW_CALL_H_
#define ESPALIER_COORDINATOR_SERVICE_TESTING_RAW_CALL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace espalier {

// Sends `request` as the only message to `method` ("/package.Service/Method"), reads all answers
// and returns how the call ended. Gives up after 30 s with DEADLINE_EXCEEDED.
grpc::Status RawCallStatus(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::string& request);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_TESTING_RAW_CALL_H_
