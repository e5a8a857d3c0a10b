#include "common/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

const char* Advice(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return " (check who owns it and its permissions)";
    case ENOSPC:
    case EDQUOT:
      return " (free some space, or choose another disk)";
    case EROFS:
      return " (choose a folder on a writable disk)";
    default:
      return "";
  }
}

absl::Status SystemError(int error, const char* action, const fs::path& path) {
  const absl::Status status = absl::ErrnoToStatus(error, absl::StrCat(action, " ", path.string()));
  return {status.code(), absl::StrCat(status.message(), Advice(error))};
}

// Closes on every way out of a function.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int OpenRetrying(const fs::path& path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

absl::Status SyncPath(const fs::path& path, int flags) {
  const Descriptor fd(OpenRetrying(path, flags));
  if (fd.get() < 0) return SystemError(errno, "cannot open", path);
  // Some network file systems cannot sync a folder and say EINVAL; there is nothing more to do.
  if (fsync(fd.get()) != 0 && errno != EINVAL) return SystemError(errno, "cannot sync", path);
  return absl::OkStatus();
}

absl::Status SyncFolder(const fs::path& folder) { return SyncPath(folder, O_RDONLY | O_DIRECTORY); }

absl::Status SyncTree(const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory(error) && !error) ESPALIER_RETURN_IF_ERROR(SyncFolder(it->path()));
    if (it->is_regular_file(error) && !error) {
      ESPALIER_RETURN_IF_ERROR(SyncPath(it->path(), O_RDONLY));
    }
  }
  if (error) return SystemError(error.value(), "cannot list", folder);
  return SyncFolder(folder);
}

fs::path ParentOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

constexpr char kPartial[] = ".partial-";

// A hidden name beside `path`, on the same file system so that it can be renamed to it. The random
// part keeps processes on several machines that share the folder apart.
fs::path PartialName(const fs::path& path) {
  uint64_t random = 0;
  // Once the system is up this neither blocks nor fails for so few bytes.
  const bool drawn = getrandom(&random, sizeof(random), 0) == sizeof(random);
  if (!drawn) random = static_cast<uint64_t>(time(nullptr));
  return ParentOf(path) / absl::StrCat(".", path.filename().string(), kPartial, getpid(), "-",
                                       absl::Hex(random, absl::kZeroPad16));
}

// An absolute path without a trailing slash, links resolved as far as it exists.
absl::StatusOr<fs::path> ResolveTarget(const fs::path& target) {
  std::error_code error;
  fs::path resolved = fs::absolute(target, error).lexically_normal();
  if (error) return SystemError(error.value(), "cannot resolve", target);
  if (!resolved.has_filename()) resolved = resolved.parent_path();
  resolved = fs::weakly_canonical(resolved, error);
  if (error) return SystemError(error.value(), "cannot resolve", target);
  return resolved;
}

absl::Status RequireAbsentOrEmpty(const fs::path& target) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(target, error);
  if (status.type() == fs::file_type::not_found) return absl::OkStatus();
  if (error) return SystemError(error.value(), "cannot look at", target);
  if (fs::is_directory(status) && fs::is_empty(target, error) && !error) return absl::OkStatus();
  if (error) return SystemError(error.value(), "cannot list", target);
  return absl::AlreadyExistsError(absl::StrCat(
      target.string(), " exists already and is not an empty folder: choose another, or remove it"));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const fs::path& path) {
  const Descriptor fd(OpenRetrying(path, O_RDONLY));
  if (fd.get() < 0) return SystemError(errno, "cannot open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return SystemError(errno, "cannot look at", path);
  std::string contents;
  // One byte more than the size, so that a file that did not grow ends without another allocation.
  size_t room = static_cast<size_t>(info.st_size) + 1;
  for (size_t filled = 0;;) {
    contents.resize(filled + room);
    const ssize_t got = read(fd.get(), contents.data() + filled, room);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(errno, "cannot read", path);
    filled += got;
    if (got == 0) {
      contents.resize(filled);
      return contents;
    }
    room = contents.size() > filled ? contents.size() - filled : contents.size();
  }
}

absl::Status WriteFileAtomically(const fs::path& path, std::string_view contents) {
  const fs::path partial = PartialName(path);
  const auto write_partial = [&]() -> absl::Status {
    ESPALIER_ASSIGN_OR_RETURN(auto writer, FileWriter::Create(partial));
    ESPALIER_RETURN_IF_ERROR(writer->Append(contents));
    ESPALIER_RETURN_IF_ERROR(writer->Close());
    if (rename(partial.c_str(), path.c_str()) != 0) {
      return SystemError(errno, "cannot rename the finished file to", path);
    }
    return absl::OkStatus();
  };
  if (absl::Status status = write_partial(); !status.ok()) {
    unlink(partial.c_str());
    return status;
  }
  return SyncFolder(ParentOf(path));
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const fs::path& path) {
  const Descriptor fd(OpenRetrying(path, O_RDONLY | O_NONBLOCK));
  if (fd.get() < 0) return SystemError(errno, "cannot open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return SystemError(errno, "cannot look at", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not a regular file"));
  }
  const size_t size = static_cast<size_t>(info.st_size);
  if (size == 0) {  // mmap refuses empty maps
    return std::shared_ptr<const MappedFile>(new MappedFile(path, nullptr, 0));
  }
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return SystemError(errno, "cannot map", path);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const char*>(data), size));
}

MappedFile::MappedFile(fs::path path, const char* data, size_t size)
    : path_(std::move(path)), data_(data), size_(size) {}

void MappedFile::ReleasePages() const {
  if (data_ != nullptr) madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(const_cast<char*>(data_), size_);
}

absl::StatusOr<std::unique_ptr<FileWriter>> FileWriter::Create(const fs::path& path) {
  const int fd = OpenRetrying(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd < 0) return SystemError(errno, "cannot create", path);
  return std::unique_ptr<FileWriter>(new FileWriter(path, fd));
}

FileWriter::FileWriter(fs::path path, int fd) : path_(std::move(path)), fd_(fd) {}

FileWriter::~FileWriter() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileWriter::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(errno, "cannot write", path_);
    bytes.remove_prefix(written);
  }
  return absl::OkStatus();
}

absl::Status FileWriter::Close() {
  const int fd = std::exchange(fd_, -1);
  if (fsync(fd) != 0) {
    const int error = errno;
    close(fd);
    return SystemError(error, "cannot sync", path_);
  }
  if (close(fd) != 0) return SystemError(errno, "cannot close", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StagedDirectory>> StagedDirectory::Create(const fs::path& target) {
  ESPALIER_ASSIGN_OR_RETURN(const fs::path resolved, ResolveTarget(target));
  ESPALIER_RETURN_IF_ERROR(RequireAbsentOrEmpty(resolved));
  return CreateAgain(resolved);
}

absl::StatusOr<std::unique_ptr<StagedDirectory>> StagedDirectory::CreateAgain(
    const fs::path& target) {
  ESPALIER_ASSIGN_OR_RETURN(fs::path resolved, ResolveTarget(target));
  std::error_code error;
  fs::create_directories(resolved.parent_path(), error);
  if (error) return SystemError(error.value(), "cannot create the folder above", resolved);
  fs::path staging = PartialName(resolved);
  if (mkdir(staging.c_str(), 0777) != 0) return SystemError(errno, "cannot create", staging);
  return std::unique_ptr<StagedDirectory>(
      new StagedDirectory(std::move(resolved), std::move(staging)));
}

namespace {

// For good. rename(2) replaces an empty folder but nothing else, so what appeared at the target
// meanwhile is safe.
absl::Status MoveFolder(const fs::path& from, const fs::path& to) {
  ESPALIER_RETURN_IF_ERROR(SyncTree(from));
  if (rename(from.c_str(), to.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) return RequireAbsentOrEmpty(to);
    return SystemError(errno, "cannot rename the finished folder to", to);
  }
  return SyncFolder(to.parent_path());
}

}  // namespace

StagedDirectory::StagedDirectory(fs::path target, fs::path staging)
    : target_(std::move(target)), staging_(std::move(staging)) {}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(staging_, ignored);
}

void StagedDirectory::RemoveAbandoned(const fs::path& staging) {
  const std::string name = staging.filename().string();
  std::error_code ignored;
  if (!name.empty() && name.front() == '.' && name.find(kPartial) != std::string::npos) {
    fs::remove_all(staging, ignored);
  }
}

absl::Status StagedDirectory::Commit() {
  ESPALIER_RETURN_IF_ERROR(MoveFolder(staging_, target_));
  committed_ = true;
  return absl::OkStatus();
}

absl::Status StagedDirectory::CommitPart(const std::string& name) {
  std::error_code error;
  fs::create_directory(target_, error);
  if (error) return SystemError(error.value(), "cannot create", target_);
  ESPALIER_RETURN_IF_ERROR(SyncFolder(target_.parent_path()));
  return MoveFolder(staging_ / name, target_ / name);
}

}  // namespace espalier
