#include "coordinator/service/committer.h"

#include <gtest/gtest.h>

#include <atomic>

namespace espalier {
namespace {

// Refuses its first commits.
class FullStore : public JobStore {
 public:
  explicit FullStore(int refusals) : refusals_(refusals) {}

  absl::Status Commit(const StoreBatch& batch) override {
    if (refusals_-- > 0) return absl::ResourceExhaustedError("the disk is full");
    stored += static_cast<int>(batch.events.size());
    return absl::OkStatus();
  }
  absl::Status SetStaging(uint64_t, const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<StoredJobRow>> Jobs() override { return std::vector<StoredJobRow>(); }
  absl::StatusOr<std::vector<std::string>> Events(uint64_t) override {
    return std::vector<std::string>();
  }
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Answers(
      const std::string&) override {
    return std::vector<std::pair<std::string, std::string>>();
  }
  absl::StatusOr<uint64_t> LastJob() override { return 0; }
  uint64_t life() const override { return 1; }

  std::atomic<int> stored = 0;

 private:
  int refusals_;
};

Actions OneEvent() { return {PublishEvent()}; }
StoreBatch OneRow() {
  StoreBatch batch;
  batch.events = {{.job = 1, .number = 1, .bytes = "event"}};
  return batch;
}

TEST(CommitterTest, NothingIsCarriedOutBeforeAFullDiskHasRoomAgain) {
  FullStore store(2);
  std::atomic<int> carried_out = 0;
  std::atomic<bool> too_early = false;
  Committer committer(&store, [&](const Actions& actions) {
    // One of the two may come alone, before the other is added.
    carried_out += static_cast<int>(actions.size());
    too_early = too_early || carried_out > store.stored;
  });
  committer.Add(OneEvent(), OneRow());
  const uint64_t last = committer.Add(OneEvent(), OneRow());
  EXPECT_TRUE(committer.Wait(last).ok());
  EXPECT_EQ(store.stored, 2);
  EXPECT_EQ(carried_out, 2);
  EXPECT_FALSE(too_early);
}

TEST(CommitterTest, WhatCannotBeStoredIsNotCarriedOutAtTheEndEither) {
  FullStore store(1'000'000);
  std::atomic<int> carried_out = 0;
  Committer committer(&store, [&](const Actions&) { ++carried_out; });
  const uint64_t ticket = committer.Add(OneEvent(), OneRow());
  committer.Finish();
  EXPECT_FALSE(committer.Wait(ticket).ok());
  EXPECT_EQ(carried_out, 0);
}

}  // namespace
}  // namespace espalier
