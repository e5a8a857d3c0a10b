#include "worker/engine/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace espalier {
namespace {

int64_t ReadNumber(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : 0;  // "max" and missing files give 0
}

// Pages of files, which a group is charged for and which go when memory is asked for: the model has
// just been read.
int64_t FileCache(const std::filesystem::path& group) {
  std::ifstream stat(group / "memory.stat");
  std::string key;
  int64_t bytes = 0;
  int64_t total = 0;
  while (stat >> key >> bytes) {
    if (key == "active_file" || key == "inactive_file") total += bytes;
  }
  return total;
}

}  // namespace

int64_t AvailableMemory(const std::filesystem::path& meminfo, const std::filesystem::path& group) {
  int64_t available = 0;
  std::ifstream info(meminfo);
  std::string key;
  int64_t kilobytes = 0;
  std::string unit;
  while (info >> key >> kilobytes) {
    std::getline(info, unit);
    if (key == "MemAvailable:") available = kilobytes * 1024;
  }
  const int64_t limit = ReadNumber(group / "memory.max");
  if (limit > 0) {
    const int64_t left = limit - ReadNumber(group / "memory.current") + FileCache(group);
    available = available > 0 ? std::min(available, left) : left;
  }
  return std::max<int64_t>(available, 0);
}

}  // namespace espalier
