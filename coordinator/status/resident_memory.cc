#include "coordinator/status/resident_memory.h"

#include <unistd.h>

#include <fstream>

namespace espalier {

int64_t ResidentMemoryBytes() {
  std::ifstream file("/proc/self/statm");  // pages: total, resident, ...
  int64_t total = 0;
  int64_t resident = 0;
  return file >> total >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace espalier
