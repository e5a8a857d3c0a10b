#include "coordinator/jobs/job_reporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace espalier {
namespace {

class JobReporterTest : public ::testing::Test {
 protected:
  Step At(TimeMs now) { return {.now = now, .actions = &actions_}; }
  std::vector<PublishEvent> Events() {
    std::vector<PublishEvent> events;
    for (const Action& action : actions_) events.push_back(std::get<PublishEvent>(action));
    actions_.clear();
    return events;
  }

  Actions actions_;
  JobReporter reporter_{1, std::make_shared<const JobSpec>(), 0};
};

TEST_F(JobReporterTest, NumbersEventsWithoutGaps) {
  reporter_.Activate(At(0));
  reporter_.Activate(At(1));  // runs already
  reporter_.StartPhase(At(2), JobPhase::kSearch, 10, "candidates", "go");
  reporter_.SetWaiting(At(3), "a worker");
  reporter_.SetWaiting(At(4), "a worker");  // no news
  reporter_.Fail(At(5), "broken");
  const std::vector<PublishEvent> events = Events();
  ASSERT_THAT(events, ::testing::SizeIs(4));
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].number, i + 1);
  EXPECT_EQ(events.back().state, JobState::kFailed);
  EXPECT_EQ(events.back().error, "broken");
  EXPECT_EQ(events.back().progress.waiting_for, "");
}

TEST_F(JobReporterTest, TheBestOnlyImproves) {
  reporter_.ImproveBest(10, 0.7);
  reporter_.ImproveBest(12, 0.69);
  EXPECT_EQ(reporter_.view().progress.best_perplexity, 10);
  EXPECT_EQ(reporter_.view().progress.ratio, 0.7);
  reporter_.ImproveBest(9, 0.68);
  EXPECT_EQ(reporter_.view().progress.ratio, 0.68);
}

TEST_F(JobReporterTest, LongPhasesMakeFewEvents) {
  reporter_.StartPhase(At(0), JobPhase::kSearch, 1'000'000, "candidates", "");
  Events();
  constexpr TimeMs kDay = 24 * 3600 * 1000;
  for (TimeMs now = 0; now < kDay; now += 50) {
    reporter_.AddDone(1);
    if (reporter_.MayPublishProgress(now)) reporter_.PublishProgress(At(now), 0);
  }
  // 500 in the first 50 s, then 500 each time that the duration grows e-fold: ln(86400 / 50) = 7.5.
  EXPECT_LT(Events().size(), 500 + 7.5 * 500 + 50);
}

TEST_F(JobReporterTest, NoNewsIsNoEvent) {
  reporter_.StartPhase(At(0), JobPhase::kSearch, 10, "candidates", "");
  Events();
  reporter_.PublishProgress(At(1000), 0);
  EXPECT_THAT(Events(), ::testing::IsEmpty());
  reporter_.PublishProgress(At(2000), 0.5);
  EXPECT_THAT(Events(), ::testing::SizeIs(1));
}

TEST_F(JobReporterTest, RateAndRemainingTimeComeFromTheRecentPast) {
  reporter_.StartPhase(At(0), JobPhase::kSearch, 1000, "candidates", "");
  // One a second for a minute, then ten a second for a minute.
  TimeMs now = 0;
  for (int i = 0; i < 60; ++i) {
    reporter_.AddDone(1);
    reporter_.PublishProgress(At(now += 1000), 0);
  }
  EXPECT_NEAR(reporter_.view().progress.units_per_second, 1, 1e-9);
  EXPECT_NEAR(reporter_.view().progress.eta_seconds, 940, 1e-6);
  for (int i = 0; i < 60; ++i) {
    reporter_.AddDone(10);
    reporter_.PublishProgress(At(now += 1000), 0);
  }
  EXPECT_NEAR(reporter_.view().progress.units_per_second, 10, 1e-9);
  EXPECT_NEAR(reporter_.view().progress.eta_seconds, (1000 - 660) / 10.0, 1e-6);
}

}  // namespace
}  // namespace espalier
