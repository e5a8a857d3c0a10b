#include "coordinator/status/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

JobEventView At(int64_t done, int64_t generation, double best, JobPhase phase = JobPhase::kSearch) {
  return {.unix_ms = 1000 + done,
          .phase = phase,
          .done = done,
          .generation = generation,
          .best_perplexity = best};
}

std::vector<int64_t> Candidates(const std::vector<HistoryPoint>& points) {
  std::vector<int64_t> candidates;
  for (const HistoryPoint& point : points) candidates.push_back(point.candidates);
  return candidates;
}

std::vector<HistoryPoint> SearchHistory(const std::vector<JobEventView>& events, size_t most) {
  JobCourse course;
  for (const JobEventView& event : events) course.Add(event);
  return course.History(most);
}

TEST(SearchHistoryTest, HasAPointForEachImprovementAndGenerationAndOneForNow) {
  const std::vector<JobEventView> events = {At(0, 0, 9), At(1, 0, 9), At(2, 0, 9), At(3, 0, 8),
                                            At(4, 1, 8), At(5, 1, 8), At(6, 1, 8)};
  EXPECT_THAT(Candidates(SearchHistory(events, 100)), ElementsAre(0, 3, 4, 6));
}

TEST(SearchHistoryTest, LeavesOutWhatIsNoSearch) {
  EXPECT_THAT(SearchHistory({}, 100), IsEmpty());
  const std::vector<JobEventView> events = {At(5, 0, 9, JobPhase::kInitialize), At(1, 0, 0),
                                            At(2, 0, 7), At(90, 3, 5, JobPhase::kReform)};
  EXPECT_THAT(Candidates(SearchHistory(events, 100)), ElementsAre(2));
}

TEST(SearchHistoryTest, IsThatOfTheNewestSize) {
  std::vector<JobEventView> events = {At(0, 0, 9), At(1, 1, 8), At(2, 1, 8)};
  for (const int64_t done : {0, 3, 4}) {
    events.push_back(At(done, 1, 20.0 - static_cast<double>(done)));
    events.back().size = 2;
  }
  EXPECT_THAT(Candidates(SearchHistory(events, 100)), ElementsAre(0, 3, 4));
}

TEST(SearchHistoryTest, CarriesAllFigures) {
  JobEventView event = At(12, 3, 7.5);
  event.ratio = 0.69;
  EXPECT_THAT(SearchHistory({event}, 2), ElementsAre(HistoryPoint{.unix_ms = 1012,
                                                                  .generation = 3,
                                                                  .candidates = 12,
                                                                  .best_perplexity = 7.5,
                                                                  .ratio = 0.69}));
}

TEST(SearchHistoryTest, NeverHasMoreThanItMayAndKeepsTheEnds) {
  std::vector<JobEventView> events;
  for (int i = 0; i < 5000; ++i) events.push_back(At(i, i, 9000.0 - i));
  for (const size_t most : {size_t{2}, size_t{3}, size_t{512}}) {
    const std::vector<int64_t> candidates = Candidates(SearchHistory(events, most));
    ASSERT_EQ(candidates.size(), most);
    EXPECT_EQ(candidates.front(), 0);
    EXPECT_EQ(candidates.back(), 4999);
    EXPECT_TRUE(std::is_sorted(candidates.begin(), candidates.end()));
  }
}

TEST(JobCourseTest, KeepsTheNewestMessages) {
  JobCourse course;
  for (int i = 0; i < 150; ++i) course.Add({.unix_ms = i, .message = i % 2 == 0 ? "" : "text"});
  course.Add({.unix_ms = 1000, .phase = JobPhase::kReform, .message = "the last"});
  ASSERT_EQ(course.Messages().size(), 76u);
  for (int i = 0; i < 150; ++i) course.Add({.unix_ms = 2000 + i, .message = "more"});
  ASSERT_EQ(course.Messages().size(), kMostMessages);
  EXPECT_EQ(course.Messages().front().unix_ms, 2050);
  EXPECT_EQ(course.Messages().back().unix_ms, 2149);
}

}  // namespace
}  // namespace espalier
