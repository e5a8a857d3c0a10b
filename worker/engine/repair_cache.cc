#include "worker/engine/repair_cache.h"

namespace espalier {
namespace {

int64_t SizeOf(const RepairedModule& module) {
  return static_cast<int64_t>(module.weights.nbytes());
}

}  // namespace

const RepairedModule* RepairCache::Find(const std::string& key) {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &found->second->second;
}

void RepairCache::Insert(const std::string& key, RepairedModule module) {
  if (SizeOf(module) > capacity_ || index_.contains(key)) return;
  bytes_ += SizeOf(module);
  entries_.emplace_front(key, std::move(module));
  index_[key] = entries_.begin();
  while (bytes_ > capacity_) {
    bytes_ -= SizeOf(entries_.back().second);
    index_.erase(entries_.back().first);
    entries_.pop_back();
  }
}

}  // namespace espalier
