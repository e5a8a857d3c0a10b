// How much the brain does in one step: little, however many workers there are and whatever was
// before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/jobs/brain.h"
#include "coordinator/jobs/testing/brain_harness.h"
#include "coordinator/jobs/testing/fakes.h"

namespace espalier {
namespace {

using testing_fakes::BrainHarness;
using testing_fakes::kHarnessLease;
using testing_fakes::kTestVersion;
using testing_fakes::TinySpec;

constexpr int kWorkers = 5;

template <typename A>
int Count(const Actions& actions) {
  return static_cast<int>(std::count_if(actions.begin(), actions.end(), [](const Action& action) {
    return std::holds_alternative<A>(action);
  }));
}

// Tasks of one call of `step`.
template <typename Step>
int TasksOf(Step&& step) {
  Actions actions;
  step(&actions);
  return Count<SendTask>(actions);
}

TEST(BrainStepsTest, TasksForManyWorkersTakeSeveralSteps) {
  testing_fakes::FakeSearchFactory searches;
  Brain brain({.lease = kHarnessLease, .version = kTestVersion, .most_a_step = 2}, &searches);
  Actions actions;
  for (int i = 1; i <= kWorkers; ++i) {
    const WorkerKey key = i;
    brain.Handle(WorkerAttached{.worker = key, .info = testing_fakes::Info(absl::StrCat(i))}, 0,
                 &actions);
  }
  const JobSpec spec = TinySpec(1, "/results/1");
  const JobId job = *brain.Submit(spec, "", 0, &actions);
  EXPECT_EQ(TasksOf([&](Actions* step) {
              brain.Handle(JobPrepared{.job = job, .prepared = testing_fakes::Prepared(spec)}, 0,
                           step);
            }),
            2);
  EXPECT_TRUE(brain.HasMore());
  // An event in between is not made to wait for them.
  EXPECT_EQ(TasksOf([&](Actions* step) { brain.Handle(Tick{}, 1, step); }), 0);
  EXPECT_TRUE(brain.HasMore());
  EXPECT_EQ(TasksOf([&](Actions* step) { brain.GoOn(2, step); }), 2);
  EXPECT_TRUE(brain.HasMore());
  EXPECT_EQ(TasksOf([&](Actions* step) { brain.GoOn(3, step); }), 1);
  EXPECT_FALSE(brain.HasMore());
  EXPECT_EQ(TasksOf([&](Actions* step) { brain.GoOn(4, step); }), 0);
}

// Facts and events: rows in the store.
TEST(BrainStepsTest, AnAnswerStoresTheSameWhateverWasBefore) {
  BrainHarness harness;
  JobSpec spec = TinySpec(1, "/results/1");
  spec.search.generations = 60;
  harness.Attach(1);
  harness.Submit(spec);
  std::vector<int> rows;
  harness.RunUntil([&](const SendTask& task) {
    if (!std::holds_alternative<EvaluateWork>(task.work)) return false;
    if (harness.Job().progress.phase != JobPhase::kSearch) return false;
    rows.push_back(static_cast<int>(harness.Taken<RecordFact>().size()) +
                   static_cast<int>(harness.Taken<PublishEvent>().size()));
    return false;
  });
  ASSERT_GT(rows.size(), 300u);
  rows.erase(rows.begin());  // all that was before
  const auto third = static_cast<int64_t>(rows.size() / 3);
  EXPECT_EQ(*std::max_element(rows.begin(), rows.begin() + third),
            *std::max_element(rows.end() - third, rows.end()));
}

}  // namespace
}  // namespace espalier
