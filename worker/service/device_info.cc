#include "worker/service/device_info.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "worker/cuda/loader.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

// What follows "key :" on the first line that begins with `key`.
std::optional<std::string> FieldOf(const fs::path& file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    return std::string(absl::StripAsciiWhitespace(absl::string_view(line).substr(colon + 1)));
  }
  return std::nullopt;
}

int64_t PhysicalMemory(const fs::path& root) {
  const std::string field = FieldOf(root / "proc/meminfo", "MemTotal").value_or("");  // "123 kB"
  int64_t kib = 0;
  return absl::SimpleAtoi(absl::StripSuffix(field, " kB"), &kib) ? kib * 1024 : 0;
}

// The number in a control group's file; none for "max" and for a file that is not there.
std::optional<int64_t> LimitIn(const fs::path& file) {
  std::ifstream in(file);
  std::string word;
  int64_t bytes = 0;
  if (!(in >> word) || !absl::SimpleAtoi(word, &bytes)) return std::nullopt;
  return bytes;
}

// The least limit of the process's control group and those above it. Version 2 has one line
// "0::/path"; version 1 has lines "5:memory:/path" and a tree of its own for memory.
int64_t ControlGroupLimit(const fs::path& root) {
  int64_t limit = std::numeric_limits<int64_t>::max();
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const bool version2 = parts[1].empty();
    if (!version2 && parts[1] != "memory") continue;
    const fs::path tree = root / (version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    const char* const file = version2 ? "memory.max" : "memory.limit_in_bytes";
    fs::path group = fs::path(parts[2]).relative_path();
    while (true) {
      limit = std::min(limit, LimitIn(tree / group / file).value_or(limit));
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
  return limit;
}

absl::StatusOr<DeviceInfo> DetectCuda(int ordinal) {
  ESPALIER_ASSIGN_OR_RETURN(const CudaModule module, CudaModule::Open());
  ESPALIER_ASSIGN_OR_RETURN(const CudaDevice device, module.Describe(ordinal));
  return DeviceInfo{.name = device.name, .memory_bytes = device.total_bytes};
}

}  // namespace

DeviceInfo DetectCpu(const fs::path& root) {
  return {.name = FieldOf(root / "proc/cpuinfo", "model name").value_or("CPU"),
          .memory_bytes = std::min(PhysicalMemory(root), ControlGroupLimit(root))};
}

absl::StatusOr<DeviceInfo> DetectDevice(const std::string& device) {
  if (device == "cpu") return DetectCpu("/");
  int ordinal = 0;
  absl::string_view number = device;
  if (!absl::ConsumePrefix(&number, "cuda:") || !absl::SimpleAtoi(number, &ordinal) ||
      ordinal < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device '", device, "' is neither 'cpu' nor 'cuda:N', e.g. 'cuda:0'"));
  }
  absl::StatusOr<DeviceInfo> info = DetectCuda(ordinal);
  if (info.ok()) return info;
  return absl::Status(info.status().code(),
                      absl::StrCat("--device ", device, ": ", info.status().message()));
}

std::string DefaultWorkerName() {
  char host[256] = "";
  if (gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
  return absl::StrCat(host[0] == '\0' ? "worker" : host, ":", getpid());
}

}  // namespace espalier
