// How much memory this process may still take.
#ifndef ESPALIER_WORKER_ENGINE_MEMORY_H_
#define ESPALIER_WORKER_ENGINE_MEMORY_H_

#include <cstdint>

namespace espalier {

// Bytes of host memory that can be had without swapping: MemAvailable, or what the control group
// leaves if that is less. 0 when unknown.
int64_t AvailableMemory();

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_MEMORY_H_
