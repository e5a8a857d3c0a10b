// A lock that a process holds on a file; it ends with the process, however that ends.
#ifndef ESPALIER_COORDINATOR_STORE_FILE_LOCK_H_
#define ESPALIER_COORDINATOR_STORE_FILE_LOCK_H_

#include <filesystem>
#include <utility>

#include "absl/status/statusor.h"

namespace espalier {

class FileLock {
 public:
  // Makes the file if it is not there. FAILED_PRECONDITION when another process has the lock.
  static absl::StatusOr<FileLock> Take(const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STORE_FILE_LOCK_H_
