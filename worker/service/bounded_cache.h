// A few values by key; the one that was not used for longest goes first.
#ifndef ESPALIER_WORKER_SERVICE_BOUNDED_CACHE_H_
#define ESPALIER_WORKER_SERVICE_BOUNDED_CACHE_H_

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace espalier {

// For small capacities: look-up is linear. `Key` needs only ==. Not thread-safe.
template <typename Key, typename Value>
class BoundedCache {
 public:
  // Requires capacity > 0.
  explicit BoundedCache(size_t capacity) : capacity_(capacity) {}

  // Null when absent. Valid until the next call.
  const Value* Find(const Key& key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (found == entries_.end()) return nullptr;
    std::rotate(found, found + 1, entries_.end());  // the most recently used is last
    return &entries_.back().second;
  }

  void Erase(const Key& key) {
    std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; });
  }

  // Call before making a value that shall be inserted, so that at no time more than `capacity`
  // values exist. Requires that the key is absent at Insert.
  void MakeRoom() {
    if (entries_.size() >= capacity_) entries_.erase(entries_.begin());
  }
  void Insert(Key key, Value value) {
    MakeRoom();
    entries_.emplace_back(std::move(key), std::move(value));
  }

  size_t size() const { return entries_.size(); }

 private:
  const size_t capacity_;
  std::vector<std::pair<Key, Value>> entries_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_BOUNDED_CACHE_H_
