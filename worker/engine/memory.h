// How much memory this process may still take.
#ifndef ESPALIER_WORKER_ENGINE_MEMORY_H_
#define ESPALIER_WORKER_ENGINE_MEMORY_H_

#include <cstdint>
#include <filesystem>

namespace espalier {

// Bytes of host memory that can be had without swapping: MemAvailable of `meminfo`, or what the
// control group at `group` leaves if that is less; pages of files count as free in both. 0 when
// unknown.
int64_t AvailableMemory(const std::filesystem::path& meminfo = "/proc/meminfo",
                        const std::filesystem::path& group = "/sys/fs/cgroup");

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_MEMORY_H_
