// How many transactions a store has committed, beside the store.
//
// SQLite ends its write-ahead log at the first frame that does not fit its checksum, since that is
// what a power failure leaves. So one bit that changes there takes everything behind it along, and
// nobody is told. This count is written after each commit, without waiting for the disk: it is
// never ahead of what was stored, and when the store is behind it, the store has lost something.
#ifndef ESPALIER_COORDINATOR_STORE_COMMIT_COUNTER_H_
#define ESPALIER_COORDINATOR_STORE_COMMIT_COUNTER_H_

#include <cstdint>
#include <filesystem>
#include <optional>

namespace espalier {

// Not thread-safe. Never fails: without a count the store is only less sure of itself.
class CommitCounter {
 public:
  explicit CommitCounter(const std::filesystem::path& file);
  ~CommitCounter();
  CommitCounter(const CommitCounter&) = delete;
  CommitCounter& operator=(const CommitCounter&) = delete;

  // None when the file is new or damaged.
  std::optional<uint64_t> Read() const;
  void Write(uint64_t commits);

 private:
  const int fd_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STORE_COMMIT_COUNTER_H_
