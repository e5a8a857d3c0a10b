#include "coordinator/store/commit_counter.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/sha256.h"

namespace espalier {
namespace {

constexpr size_t kDigits = 20;
constexpr size_t kSumDigits = 16;

std::string Line(uint64_t commits) {
  std::string digits = absl::StrCat(commits);
  digits.insert(0, kDigits - digits.size(), '0');
  return absl::StrCat(digits, " ", Sha256Hex(digits).substr(0, kSumDigits), "\n");
}

}  // namespace

CommitCounter::CommitCounter(const std::filesystem::path& file)
    : fd_(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {}

CommitCounter::~CommitCounter() {
  if (fd_ >= 0) close(fd_);
}

std::optional<uint64_t> CommitCounter::Read() const {
  char buffer[kDigits + kSumDigits + 2];
  if (pread(fd_, buffer, sizeof(buffer), 0) != static_cast<ssize_t>(sizeof(buffer))) return {};
  const std::string_view line(buffer, sizeof(buffer));
  uint64_t commits = 0;
  if (!absl::SimpleAtoi(absl::string_view(line.data(), kDigits), &commits)) return {};
  if (Line(commits) != line) return {};
  return commits;
}

void CommitCounter::Write(uint64_t commits) {
  const std::string line = Line(commits);
  (void)!pwrite(fd_, line.data(), line.size(), 0);
}

}  // namespace espalier
