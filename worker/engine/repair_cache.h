// Repaired modules, by what they follow from. Internal to the engine.
//
// A repaired module depends on its own mask only, and the subnets of a search share most of their
// modules: kept, a candidate costs the repair of what is new in it.
#ifndef ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_
#define ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_

#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "worker/engine/repair_spill.h"

namespace espalier {

// Least recently used entries go first when it is full: to disk, if there is a folder for that.
// Not thread-safe.
class RepairCache {
 public:
  explicit RepairCache(int64_t capacity = int64_t{1} << 30) : capacity_(capacity) {}

  std::optional<RepairedModule> Find(const std::string& key);
  void Insert(const std::string& key, RepairedModule module);

  int64_t bytes() const { return bytes_; }
  void set_capacity(int64_t bytes) { capacity_ = bytes; }
  void SpillTo(std::filesystem::path folder, int64_t capacity = 0) {
    spill_ = std::make_unique<RepairSpill>(std::move(folder), capacity);
  }
  const RepairSpill* spill() const { return spill_.get(); }
  // Why nothing is kept on disk any more, the first time that it is asked after that.
  absl::Status TakeSpillError() {
    if (spill_ == nullptr || spill_->status().ok() || std::exchange(spill_error_taken_, true)) {
      return absl::OkStatus();
    }
    return spill_->status();
  }

 private:
  using Entries = std::list<std::pair<std::string, RepairedModule>>;

  int64_t capacity_;
  int64_t bytes_ = 0;
  Entries entries_;  // the last used first
  std::unordered_map<std::string, Entries::iterator> index_;
  bool spill_error_taken_ = false;
  std::unique_ptr<RepairSpill> spill_;  // null: what does not fit is forgotten
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_
