#include "coordinator/status/status_feed.h"

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "coordinator/status/testing_views.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

class FakeSource : public StatusSource {
 public:
  StatusSnapshot Look() const override {
    MutexLock lock(&mutex_);
    StatusSnapshot snapshot;
    snapshot.change = change_;
    snapshot.start_unix_ms = 1000;
    return snapshot;
  }
  absl::StatusOr<JobDetail> LookAt(JobId) const override { return absl::NotFoundError("none"); }
  uint64_t WaitForChange(uint64_t seen, Clock::time_point deadline) const override {
    MutexLock lock(&mutex_);
    while (change_ == seen) {
      if (!changed_.WaitUntil(&mutex_, deadline)) break;
    }
    return change_;
  }
  void Change() {
    MutexLock lock(&mutex_);
    ++change_;
    changed_.NotifyAll();
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;
  uint64_t change_ ABSL_GUARDED_BY(mutex_) = 1;
};

class StatusFeedTest : public ::testing::Test {
 protected:
  static Clock::time_point Soon() { return Clock::now() + std::chrono::seconds(20); }

  FakeSource source_;
  StatusFeed feed_{&source_, {.most_streams = 2, .distance = std::chrono::milliseconds(1)}};
};

TEST_F(StatusFeedTest, TellsThePresentAndEveryChange) {
  ASSERT_TRUE(feed_.Join());
  const auto first = feed_.Next({}, Soon());
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->id.ToString(), "1000-1");
  EXPECT_EQ(nlohmann::json::parse(first->json)["started_unix_ms"], 1000);
  source_.Change();
  const auto second = feed_.Next(first->id, Soon());
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->id.change, 2u);
  // Nothing new: null at the deadline.
  EXPECT_EQ(feed_.Next(second->id, Clock::now()), nullptr);
  // The id of another process is not this one's, whatever its number.
  EXPECT_NE(feed_.Next({.start_unix_ms = 999, .change = 2}, Soon()), nullptr);
  feed_.Leave();
}

TEST_F(StatusFeedTest, ALaterStreamStartsWithThePresentToo) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(feed_.Join());
    const auto item = feed_.Next({}, Soon());
    ASSERT_NE(item, nullptr);
    EXPECT_EQ(item->id.change, 1u);
    feed_.Leave();
  }
}

TEST_F(StatusFeedTest, HasRoomForSoManyStreamsOnly) {
  EXPECT_TRUE(feed_.Join());
  EXPECT_TRUE(feed_.Join());
  EXPECT_FALSE(feed_.Join());
  EXPECT_EQ(feed_.streams(), 2);
  feed_.Leave();
  EXPECT_TRUE(feed_.Join());
  feed_.Leave();
  feed_.Leave();
}

TEST_F(StatusFeedTest, StopEndsTheWaiting) {
  ASSERT_TRUE(feed_.Join());
  const auto first = feed_.Next({}, Soon());
  ASSERT_NE(first, nullptr);
  std::thread stopper([this] { feed_.Stop(); });
  EXPECT_EQ(feed_.Next(first->id, Clock::now() + std::chrono::hours(1)), nullptr);
  stopper.join();
  EXPECT_FALSE(feed_.Join());
  EXPECT_EQ(feed_.Next({}, Clock::now() + std::chrono::hours(1)), nullptr);
}

TEST(SnapshotIdTest, IsReadBackAndNothingElseIs) {
  const SnapshotId id{.start_unix_ms = 1700000000000, .change = 17};
  EXPECT_EQ(id.ToString(), "1700000000000-17");
  EXPECT_EQ(*SnapshotId::Parse(id.ToString()), id);
  for (const char* text : {"", "-", "1", "1-", "-1", "1-x", "1--2", "01-2", "1-2 ", "1-2-3",
                           "99999999999999999999-1"}) {
    EXPECT_FALSE(SnapshotId::Parse(text).ok()) << text;
  }
}

}  // namespace
}  // namespace espalier
