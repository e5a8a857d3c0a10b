// Repaired modules, by what they follow from. Internal to the engine.
//
// A repaired module depends on its own mask only, and the subnets of a search share most of their
// modules: kept, a candidate costs the repair of what is new in it.
#ifndef ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_
#define ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace espalier {

struct RepairedModule {
  at::Tensor weights;  // [kept inputs, out], or a bias [out]; float32
  double before = 0;   // relative errors (ReformationError)
  double after = 0;
};

// Least recently used entries go first when it is full. Not thread-safe.
class RepairCache {
 public:
  explicit RepairCache(int64_t capacity = int64_t{1} << 30) : capacity_(capacity) {}

  // Null when it is not there.
  const RepairedModule* Find(const std::string& key);
  void Insert(const std::string& key, RepairedModule module);

  int64_t bytes() const { return bytes_; }
  void set_capacity(int64_t bytes) { capacity_ = bytes; }

 private:
  using Entries = std::list<std::pair<std::string, RepairedModule>>;

  int64_t capacity_;
  int64_t bytes_ = 0;
  Entries entries_;  // the last used first
  std::unordered_map<std::string, Entries::iterator> index_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_REPAIR_CACHE_H_
