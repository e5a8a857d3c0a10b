#ifndef ESPALIER_COORDINATOR_STATUS_RESIDENT_MEMORY_H_
#define ESPALIER_COORDINATOR_STATUS_RESIDENT_MEMORY_H_

#include <cstdint>

namespace espalier {

// Of this process; 0 where the system does not say.
int64_t ResidentMemoryBytes();

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_RESIDENT_MEMORY_H_
