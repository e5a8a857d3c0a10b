#include "coordinator/status/activity.h"

#include <gtest/gtest.h>

#include <utility>

namespace espalier {
namespace {

SendTask Task(TaskId id, WorkerKey worker, Work work = EvaluateWork{}) {
  return {.worker = worker, .task = id, .job = 1, .model = {}, .work = std::move(work)};
}

PublishEvent InPhase(JobPhase phase) {
  PublishEvent event;
  event.job = 1;
  event.state = JobState::kRunning;
  event.progress.phase = phase;
  return event;
}

TaskFinished Answer(TaskId id, WorkerKey worker, absl::Status status = absl::OkStatus()) {
  TaskFinished event;
  event.worker = worker;
  event.task = id;
  event.status = std::move(status);
  return event;
}

class ActivityTest : public ::testing::Test {
 protected:
  const ActivityTotals& totals() const { return counters_.totals(); }
  int64_t InWork() const {
    return totals().tasks_assigned - totals().tasks_finished - totals().tasks_failed -
           totals().tasks_returned;
  }
  // As the core: the event with the brain's answer, then the answer's actions.
  void Happens(const Event& event, const Actions& answer = {}) {
    counters_.Saw(event, answer);
    counters_.Saw(answer);
  }

  ActivityCounters counters_;
};

TEST_F(ActivityTest, EveryTaskEndsInOneWay) {
  counters_.Saw({Task(1, 7), Task(2, 7), Task(3, 8), Task(4, 8)});
  Happens(Answer(1, 7));
  Happens(Answer(3, 8, absl::InternalError("bad")));
  counters_.Saw({SendCancel{.worker = 7, .task = 2}});
  EXPECT_EQ(totals().tasks_assigned, 4);
  EXPECT_EQ(totals().tasks_finished, 1);
  EXPECT_EQ(totals().tasks_failed, 1);
  EXPECT_EQ(totals().tasks_returned, 1);
  EXPECT_EQ(InWork(), 1);
}

TEST_F(ActivityTest, LateAndRepeatedAnswersDoNotCount) {
  counters_.Saw({Task(1, 7)});
  Happens(Answer(1, 8));
  EXPECT_EQ(InWork(), 1);
  Happens(Answer(1, 7));
  Happens(Answer(1, 7));
  Happens(Answer(9, 7));
  EXPECT_EQ(totals().tasks_finished, 1);
  EXPECT_EQ(InWork(), 0);
}

TEST_F(ActivityTest, ALostWorkersTasksGoBack) {
  counters_.Saw({Task(1, 7), Task(2, 7), Task(3, 8)});
  // The brain answers by giving one of them to another worker.
  Happens(WorkerLost{.worker = 7, .reason = "gone"}, {Task(4, 8)});
  EXPECT_EQ(totals().tasks_returned, 2);
  EXPECT_EQ(InWork(), 2);
  Happens(WorkerLeft{.worker = 8, .reason = "bye"});
  EXPECT_EQ(InWork(), 0);
  EXPECT_EQ(totals().leases_expired, 0);
}

TEST_F(ActivityTest, AnExpiredLeaseIsAWorkerClosedByTime) {
  counters_.Saw({Task(1, 7)});
  Happens(Tick{}, {CloseWorker{.worker = 7, .status = {}}});
  EXPECT_EQ(totals().leases_expired, 1);
  EXPECT_EQ(totals().tasks_returned, 1);
  // Closed for another reason: its version, say.
  Happens(WorkerAttached{.worker = 9, .info = {}}, {CloseWorker{.worker = 9, .status = {}}});
  EXPECT_EQ(totals().leases_expired, 1);
}

TEST_F(ActivityTest, OnlyTheSearchScoresCandidates) {
  counters_.Saw({InPhase(JobPhase::kInitialize), Task(1, 7)});
  Happens(Answer(1, 7), {InPhase(JobPhase::kSearch), Task(2, 7)});
  Happens(Answer(2, 7), {Task(3, 7)});
  Happens(Answer(3, 7, absl::InternalError("bad")));
  EXPECT_EQ(totals().candidates_evaluated, 2);
  counters_.Saw({InPhase(JobPhase::kEvaluate), Task(4, 7)});
  Happens(Answer(4, 7));
  counters_.Saw({InPhase(JobPhase::kCalibrate), Task(5, 7, CalibrateWork{})});
  Happens(Answer(5, 7));
  EXPECT_EQ(totals().candidates_evaluated, 2);
}

TEST_F(ActivityTest, AnIdleTickIsNoChange) {
  const uint64_t before = counters_.change();
  Happens(Tick{});
  EXPECT_EQ(counters_.change(), before);
  Happens(WorkerHeartbeat{.worker = 7, .activity = "computes"});
  EXPECT_GT(counters_.change(), before);
}

}  // namespace
}  // namespace espalier
