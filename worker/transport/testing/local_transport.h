// Stages in the memory of one process: for tests, and the measure of what other transports cost.
#ifndef ESPALIER_WORKER_TRANSPORT_TESTING_LOCAL_TRANSPORT_H_
#define ESPALIER_WORKER_TRANSPORT_TESTING_LOCAL_TRANSPORT_H_

#include <memory>
#include <vector>

#include "worker/transport/transport.h"

namespace espalier {

// The transports of a replica of `size` stages, by rank. Each may be used by a thread of its own.
std::vector<std::unique_ptr<Transport>> MakeLocalTransports(int size);

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_TESTING_LOCAL_TRANSPORT_H_
