// The status as a stream of snapshots: made once for all that follow it, at most a few times a
// second, and only while somebody does.
#ifndef ESPALIER_COORDINATOR_STATUS_STATUS_FEED_H_
#define ESPALIER_COORDINATOR_STATUS_STATUS_FEED_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "common/mutex.h"
#include "coordinator/status/source.h"

namespace espalier {

// Names a snapshot: which process (by its start) and which change. "1700000000000-17".
struct SnapshotId {
  int64_t start_unix_ms = 0;
  uint64_t change = 0;

  std::string ToString() const;
  // INVALID_ARGUMENT, saying where ids come from.
  static absl::StatusOr<SnapshotId> Parse(const std::string& text);
  friend bool operator==(const SnapshotId&, const SnapshotId&) = default;
};

// Thread-safe.
class StatusFeed {
 public:
  struct Item {
    SnapshotId id;
    std::string json;  // StatusJson on one line
  };
  struct Options {
    int most_streams = 8;
    std::chrono::milliseconds distance{250};  // between snapshots, at least
  };

  // `source` outlives the feed.
  StatusFeed(const StatusSource* source, const Options& options);
  ~StatusFeed();  // as Stop

  // False when there are as many streams as there may be. Each success wants one Leave.
  bool Join();
  void Leave();
  int streams() const;

  // The newest snapshot as soon as it is another one than `seen`; null at the deadline or after
  // Stop.
  std::shared_ptr<const Item> Next(const SnapshotId& seen,
                                   std::chrono::steady_clock::time_point deadline);
  // Ends all waiting, now and later.
  void Stop();
  bool stopped() const;

 private:
  void Run();
  bool HasSnapshot() const;
  bool WaitForStreams();
  bool WaitForDistance();
  void Publish(const StatusSnapshot& snapshot);

  const StatusSource* const source_;
  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const Item> newest_ ABSL_GUARDED_BY(mutex_);  // null while nobody follows
  std::thread thread_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_STATUS_FEED_H_
