#include "worker/engine/repair_spill.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/util/accumulate.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

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
  // Nobody else could give back its room.
  if (file_ >= 0) close(std::exchange(file_, -1));
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
  Entry entry;
  entry.before = module.before;
  entry.after = module.after;
  std::vector<at::Tensor> all;
  for (const at::Tensor& tensor : module.tensors) {
    entry.parts.push_back({tensor.sizes().vec(), tensor.scalar_type()});
    entry.device = tensor.device();
    all.push_back(tensor.to(at::kCPU).flatten().view(at::kByte));
  }
  const at::Tensor values = all.size() == 1 ? all[0] : at::cat(all);
  const auto bytes = static_cast<int64_t>(values.nbytes());
  if (bytes == 0 || bytes > capacity_) return;
  if (end_ + bytes > capacity_) {
    MakeRoom(end_, capacity_ - end_);  // what is behind the end is older than what is before it
    end_ = 0;
  }
  MakeRoom(end_, bytes);
  if (!Whole(pwrite, file_, static_cast<const char*>(values.const_data_ptr()), bytes, end_)) {
    return Fail("write");
  }
  entry.offset = end_;
  entry.bytes = bytes;
  index_[key] = std::move(entry);
  oldest_first_.push_back(key);
  bytes_ += bytes;
  end_ += bytes;
}

std::optional<RepairedModule> RepairSpill::Read(const std::string& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return std::nullopt;
  const Entry& entry = found->second;
  RepairedModule module;
  module.before = entry.before;
  module.after = entry.after;
  at::Tensor values = at::empty({entry.bytes}, at::kByte);
  if (!Whole(pread, file_, static_cast<char*>(values.mutable_data_ptr()), entry.bytes,
             entry.offset)) {
    Fail("read");
    return std::nullopt;
  }
  values = values.to(entry.device);
  int64_t first = 0;
  for (const auto& [shape, type] : entry.parts) {
    const auto size = static_cast<int64_t>(c10::elementSize(type));
    const int64_t bytes = c10::multiply_integers(shape) * size;
    // One behind another need not start where its type may.
    const at::Tensor own =
        first % size == 0 ? values.narrow(0, first, bytes) : values.narrow(0, first, bytes).clone();
    module.tensors.push_back(own.view(type).view(shape));
    first += bytes;
  }
  return module;
}

}  // namespace espalier
