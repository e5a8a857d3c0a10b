#include "worker/engine/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier {
namespace {

int64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : 0;  // "max" and missing files give 0
}

}  // namespace

int64_t AvailableMemory() {
  int64_t available = 0;
  std::ifstream info("/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  std::string unit;
  while (info >> key >> kilobytes) {
    std::getline(info, unit);
    if (key == "MemAvailable:") available = kilobytes * 1024;
  }
  const int64_t limit = ReadNumber("/sys/fs/cgroup/memory.max");
  if (limit > 0) {
    const int64_t left = limit - ReadNumber("/sys/fs/cgroup/memory.current");
    available = available > 0 ? std::min(available, left) : left;
  }
  return std::max<int64_t>(available, 0);
}

}  // namespace espalier
