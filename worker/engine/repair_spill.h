// Repaired modules that memory has no room for, on disk. Internal to the engine.
//
// One file without a name, which vanishes with the process however it ends, used as a ring: when it
// is full, the oldest modules are overwritten. What was read or written lately is in the page cache
// of the system as long as nobody needs that memory more, so this is also how the cache uses the
// memory that happens to be free.
#ifndef ESPALIER_WORKER_ENGINE_REPAIR_SPILL_H_
#define ESPALIER_WORKER_ENGINE_REPAIR_SPILL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace espalier {

struct RepairedModule {
  // On one device, float32, or of kProjected in the model's type: the weights [kept inputs, out],
  // or a bias [out]; of attention that is kProjected also v's [kept key rows, d] and the factors of
  // q's rows [kept query rows], float32.
  std::vector<at::Tensor> tensors;
  double before = 0;  // relative errors (ReformationError)
  double after = 0;
};

// Not thread-safe. What is wrong with the disk only costs time: from the first error on, nothing is
// written or found any more, and status() says why.
class RepairSpill {
 public:
  // Nothing is made on disk before the first Write. `capacity` in bytes; 0: a quarter of what is
  // free on the disk then.
  explicit RepairSpill(std::filesystem::path folder, int64_t capacity = 0)
      : folder_(std::move(folder)), capacity_(capacity) {}
  ~RepairSpill();
  RepairSpill(const RepairSpill&) = delete;
  RepairSpill& operator=(const RepairSpill&) = delete;

  // Nothing when it is there already, or larger than all the room.
  void Write(const std::string& key, const RepairedModule& module);
  // As it was written, on the same device.
  std::optional<RepairedModule> Read(const std::string& key);

  int64_t bytes() const { return bytes_; }  // of the modules that can be found
  const absl::Status& status() const { return status_; }

 private:
  struct Entry {
    int64_t offset = 0;
    int64_t bytes = 0;
    std::vector<std::pair<std::vector<int64_t>, at::ScalarType>> parts;  // shapes, in their order
    at::Device device{at::kCPU};
    double before = 0;
    double after = 0;
  };

  bool Open();
  void MakeRoom(int64_t offset, int64_t bytes);
  void Fail(const char* what);

  const std::filesystem::path folder_;
  int64_t capacity_;
  int file_ = -1;
  int64_t end_ = 0;  // where the next module goes
  int64_t bytes_ = 0;
  std::unordered_map<std::string, Entry> index_;
  std::deque<std::string> oldest_first_;
  absl::Status status_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_REPAIR_SPILL_H_
