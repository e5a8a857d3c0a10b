#include "coordinator/jobs/work_queue.h"

#include <gtest/gtest.h>

namespace espalier {
namespace {

WorkItem Item(int64_t index, bool needs_calibration = false) {
  return {.work = LoadWork{}, .index = index, .needs_calibration = needs_calibration};
}

TEST(WorkQueueTest, FirstComesFirstAndWhatReturnsIsFirstAgain) {
  WorkQueue queue;
  queue.PushBack(Item(1));
  queue.PushBack(Item(2));
  WorkItem first = *queue.PopFor({.key = 1});
  EXPECT_EQ(first.index, 1);
  queue.PushFront(std::move(first));
  EXPECT_EQ(queue.PopFor({.key = 1})->index, 1);
  EXPECT_EQ(queue.PopFor({.key = 1})->index, 2);
  EXPECT_FALSE(queue.PopFor({.key = 1}).has_value());
}

TEST(WorkQueueTest, CalibratedWorkWaitsForAWorkerThatHasTheStatistics) {
  WorkQueue queue;
  queue.PushBack(Item(1, /*needs_calibration=*/true));
  queue.PushBack(Item(2));
  EXPECT_EQ(queue.PopFor({.key = 2, .others_calibrated = true, .alone = false})->index, 2);
  EXPECT_FALSE(queue.PopFor({.key = 2, .others_calibrated = true, .alone = false}).has_value());
  EXPECT_EQ(queue.PopFor({.key = 1, .calibrated = true, .alone = false})->index, 1);
}

TEST(WorkQueueTest, WhatThereIsMuchOfIsWorthTheStatisticsEverywhere) {
  WorkQueue queue;
  WorkItem candidate = Item(1, /*needs_calibration=*/true);
  candidate.many = true;
  queue.PushBack(candidate);
  EXPECT_FALSE(queue.PopFor({.key = 2, .calibrating = true, .others_calibrated = true}));
  EXPECT_TRUE(queue.PopFor({.key = 2, .others_calibrated = true, .alone = false}).has_value());
}

TEST(WorkQueueTest, WhatNeedsReformedWeightsGoesWhereTheyAre) {
  WorkQueue queue;
  WorkItem measurement = Item(1, /*needs_calibration=*/true);
  measurement.needs_reformed = true;
  queue.PushBack(measurement);
  queue.PushBack(Item(2));
  EXPECT_EQ(queue.PopFor({.key = 2, .calibrated = true, .others_reformed = true})->index, 2);
  EXPECT_FALSE(queue.PopFor({.key = 2, .calibrated = true, .others_reformed = true}));
  EXPECT_EQ(queue.PopFor({.key = 1, .calibrated = true})->index, 1);
  measurement.failures = 1;
  measurement.last_failed_on = 1;
  queue.PushBack(measurement);
  EXPECT_TRUE(
      queue.PopFor({.key = 2, .calibrated = true, .others_reformed = true, .alone = false}));
}

TEST(WorkQueueTest, CalibratedWorkIsNotGivenWhileTheStatisticsAreBeingMade) {
  WorkQueue queue;
  queue.PushBack(Item(1, /*needs_calibration=*/true));
  EXPECT_FALSE(queue.PopFor({.key = 2, .calibrating = true}).has_value());
  EXPECT_TRUE(queue.PopFor({.key = 2, .calibrated = true}).has_value());
}

TEST(WorkQueueTest, CalibratedWorkGoesToAnybodyWhenNobodyHasTheStatistics) {
  WorkQueue queue;
  queue.PushBack(Item(1, /*needs_calibration=*/true));
  EXPECT_EQ(queue.PopFor({.key = 2, .alone = false})->index, 1);
}

TEST(WorkQueueTest, WhatFailedOnAWorkerGoesToAnotherIfThereIsOne) {
  WorkQueue queue;
  WorkItem failed = Item(1, /*needs_calibration=*/true);
  failed.failures = 1;
  failed.last_failed_on = 1;
  queue.PushFront(failed);
  // Not to the one that it failed on, although that has the statistics …
  EXPECT_FALSE(queue.PopFor({.key = 1, .calibrated = true, .alone = false}).has_value());
  // … but to one that must compute them again.
  EXPECT_TRUE(queue.PopFor({.key = 2, .others_calibrated = true, .alone = false}).has_value());
  queue.PushFront(failed);
  EXPECT_TRUE(queue.PopFor({.key = 1, .calibrated = true, .alone = true}).has_value());
}

}  // namespace
}  // namespace espalier
