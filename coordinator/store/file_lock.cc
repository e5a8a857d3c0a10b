#include "coordinator/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace espalier {

absl::StatusOr<FileLock> FileLock::Take(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot open ", path.string(), ": ", std::strerror(errno)));
  }
  FileLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(
        absl::StrCat("another espalier-coordinator holds ", path.string(),
                     "; end it, or give this one another --state"));
  }
  return absl::UnavailableError(
      absl::StrCat("cannot lock ", path.string(), ": ", std::strerror(errno)));
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace espalier
