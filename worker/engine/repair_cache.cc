#include "worker/engine/repair_cache.h"

namespace espalier {
namespace {

int64_t SizeOf(const RepairedModule& module) {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : module.tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

}  // namespace

std::optional<RepairedModule> RepairCache::Find(const std::string& key) {
  const auto found = index_.find(key);
  if (found != index_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->second;
  }
  if (spill_ == nullptr) return std::nullopt;
  std::optional<RepairedModule> spilled = spill_->Read(key);
  if (spilled.has_value()) Insert(key, *spilled);
  return spilled;
}

void RepairCache::Insert(const std::string& key, RepairedModule module) {
  if (index_.contains(key)) return;
  if (SizeOf(module) > capacity_) {
    if (spill_) spill_->Write(key, module);
    return;
  }
  bytes_ += SizeOf(module);
  entries_.emplace_front(key, std::move(module));
  index_[key] = entries_.begin();
  while (bytes_ > capacity_) {
    if (spill_) spill_->Write(entries_.back().first, entries_.back().second);
    bytes_ -= SizeOf(entries_.back().second);
    index_.erase(entries_.back().first);
    entries_.pop_back();
  }
}

}  // namespace espalier
