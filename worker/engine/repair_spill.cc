#include "worker/engine/repair_spill.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

int OpenNameless(const std::filesystem::path& folder) {
  const int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
  // A file system without such files.
  std::string name = folder / "espalier-repairs-XXXXXX";
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

// All of it, or false with errno.
template <typename Call, typename Byte>
bool Whole(Call call, int file, Byte* bytes, int64_t count, int64_t offset) {
  while (count > 0) {
    const ssize_t done = call(file, bytes, static_cast<size_t>(count), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done == 0) errno = EIO;
    if (done <= 0) return false;
    bytes += done;
    count -= done;
    offset += done;
  }
  return true;
}

}  // namespace

RepairSpill::~RepairSpill() {
  if (file_ >= 0) close(file_);
}

void RepairSpill::Fail(const char* what) {
  status_ = absl::UnavailableError(
      absl::StrCat("repaired modules are not kept on disk any more: cannot ", what, " a file in ",
                   folder_.string(), ": ", std::generic_category().message(errno)));
  index_.clear();
  oldest_first_.clear();
  bytes_ = 0;
}

bool RepairSpill::Open() {
  if (file_ >= 0) return true;
  file_ = OpenNameless(folder_);
  if (file_ < 0) return Fail("make"), false;
  if (capacity_ == 0) {
    struct statvfs disk = {};
    if (fstatvfs(file_, &disk) != 0) return Fail("look at"), false;
    capacity_ = static_cast<int64_t>(disk.f_bavail * disk.f_frsize / 4);
  }
  return true;
}

// Entries lie in the order of their age from `end_` on, round the ring: the oldest are the first
// that are met.
void RepairSpill::MakeRoom(int64_t offset, int64_t bytes) {
  while (!oldest_first_.empty()) {
    const auto oldest = index_.find(oldest_first_.front());
    const Entry& entry = oldest->second;
    if (entry.offset >= offset + bytes || entry.offset + entry.bytes <= offset) return;
    bytes_ -= entry.bytes;
    index_.erase(oldest);
    oldest_first_.pop_front();
  }
}

void RepairSpill::Write(const std::string& key, const RepairedModule& module) {
  if (!status_.ok() || index_.contains(key) || !Open()) return;
  const at::Tensor weights = module.weights.to(at::kCPU).contiguous();
  const auto bytes = static_cast<int64_t>(weights.nbytes());
  if (bytes == 0 || bytes > capacity_) return;
  if (end_ + bytes > capacity_) {
    MakeRoom(end_, capacity_ - end_);  // what is behind the end is older than what is before it
    end_ = 0;
  }
  MakeRoom(end_, bytes);
  if (!Whole(pwrite, file_, static_cast<const char*>(weights.const_data_ptr()), bytes, end_)) {
    return Fail("write");
  }
  index_[key] = {.offset = end_,
                 .bytes = bytes,
                 .shape = weights.sizes().vec(),
                 .device = module.weights.device(),
                 .before = module.before,
                 .after = module.after};
  oldest_first_.push_back(key);
  bytes_ += bytes;
  end_ += bytes;
}

std::optional<RepairedModule> RepairSpill::Read(const std::string& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return std::nullopt;
  const Entry& entry = found->second;
  at::Tensor weights = at::empty(entry.shape, at::kFloat);
  if (!Whole(pread, file_, static_cast<char*>(weights.mutable_data_ptr()), entry.bytes,
             entry.offset)) {
    Fail("read");
    return std::nullopt;
  }
  return RepairedModule{weights.to(entry.device), entry.before, entry.after};
}

}  // namespace espalier
