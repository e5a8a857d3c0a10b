#include "worker/service/task_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/service/messages.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::chrono::seconds kTestDeadline{20};

v1::Task MakeTask(uint64_t id, uint64_t epoch = 1) {
  v1::Task task;
  task.set_id(id);
  task.set_epoch(epoch);
  return task;
}

// Executes tasks by waiting until the test lets them go, or until they are cancelled.
class Workshop {
 public:
  v1::TaskResult Execute(const v1::Task& task, TaskControl* control) {
    control->SetActivity("working");
    control->Part(0, 1).progress(0.5);
    MutexLock lock(&mutex_);
    started_.push_back(task.id());
    most_at_once_ = std::max(most_at_once_, ++running_);
    changed_.NotifyAll();
    while (holding_ && !control->cancelled()) {
      changed_.WaitUntil(&mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(1));
    }
    --running_;
    v1::TaskResult result;
    result.set_task_id(task.id());
    result.set_epoch(task.epoch());
    if (control->cancelled()) WriteError(absl::CancelledError("cancelled"), &result);
    return result;
  }
  void OnResult(const v1::TaskResult& result) {
    MutexLock lock(&mutex_);
    results_.push_back(result);
    changed_.NotifyAll();
  }
  void OnStep() {
    MutexLock lock(&mutex_);
    ++steps_;
  }

  void Hold() {
    MutexLock lock(&mutex_);
    holding_ = true;
  }
  void LetGo() {
    MutexLock lock(&mutex_);
    holding_ = false;
    changed_.NotifyAll();
  }
  bool WaitForStarts(size_t count) {
    return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return started_.size() >= count; });
  }
  bool WaitForResults(size_t count) {
    return WaitUntil([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return results_.size() >= count; });
  }
  std::vector<uint64_t> started() {
    MutexLock lock(&mutex_);
    return started_;
  }
  std::vector<v1::TaskResult> results() {
    MutexLock lock(&mutex_);
    return results_;
  }
  int most_at_once() {
    MutexLock lock(&mutex_);
    return most_at_once_;
  }
  int steps() {
    MutexLock lock(&mutex_);
    return steps_;
  }

 private:
  bool WaitUntil(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kTestDeadline;
    MutexLock lock(&mutex_);
    while (!condition()) {
      if (!changed_.WaitUntil(&mutex_, deadline)) return condition();
    }
    return true;
  }

  Mutex mutex_;
  CondVar changed_;
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_at_once_ ABSL_GUARDED_BY(mutex_) = 0;
  int steps_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> started_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::TaskResult> results_ ABSL_GUARDED_BY(mutex_);
};

class TaskRunnerTest : public ::testing::Test {
 protected:
  TaskRunnerTest()
      : runner_([this](const v1::Task& task,
                       TaskControl* control) { return workshop_.Execute(task, control); },
                [this](const v1::TaskResult& result) { workshop_.OnResult(result); },
                [this] { workshop_.OnStep(); }) {
    runner_.BeginEpoch(1);
  }

  Workshop workshop_;
  TaskRunner runner_;
};

TEST_F(TaskRunnerTest, RunsInOrderOneAtATime) {
  workshop_.Hold();
  for (uint64_t id = 1; id <= 5; ++id) runner_.Add(MakeTask(id));
  workshop_.LetGo();
  ASSERT_TRUE(workshop_.WaitForResults(5));
  EXPECT_THAT(workshop_.started(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(workshop_.most_at_once(), 1);
  for (const v1::TaskResult& result : workshop_.results()) EXPECT_FALSE(result.has_error());
}

TEST_F(TaskRunnerTest, HeartbeatNamesTheRunningTask) {
  EXPECT_EQ(runner_.Heartbeat().task_id(), 0u);
  EXPECT_EQ(runner_.Heartbeat().activity(), "idle");
  workshop_.Hold();
  runner_.Add(MakeTask(7));
  ASSERT_TRUE(workshop_.WaitForStarts(1));
  EXPECT_EQ(runner_.Heartbeat().task_id(), 7u);
  EXPECT_EQ(runner_.Heartbeat().progress(), 0.5);
  EXPECT_EQ(runner_.Heartbeat().activity(), "working");
  EXPECT_GE(workshop_.steps(), 2);  // the beginning, the half
  workshop_.LetGo();
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_EQ(runner_.Heartbeat().task_id(), 0u);
}

TEST_F(TaskRunnerTest, CancelsAQueuedTaskWithoutRunningIt) {
  workshop_.Hold();
  runner_.Add(MakeTask(1));
  runner_.Add(MakeTask(2));
  ASSERT_TRUE(workshop_.WaitForStarts(1));
  runner_.Cancel(2);
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_EQ(workshop_.results()[0].task_id(), 2u);
  EXPECT_EQ(workshop_.results()[0].epoch(), 1u);
  EXPECT_EQ(workshop_.results()[0].error().code(), static_cast<int>(absl::StatusCode::kCancelled));
  workshop_.LetGo();
  ASSERT_TRUE(workshop_.WaitForResults(2));
  EXPECT_THAT(workshop_.started(), ElementsAre(1));
}

TEST_F(TaskRunnerTest, CancelsTheRunningTask) {
  workshop_.Hold();
  runner_.Add(MakeTask(1));
  ASSERT_TRUE(workshop_.WaitForStarts(1));
  runner_.Cancel(1);
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_EQ(workshop_.results()[0].error().code(), static_cast<int>(absl::StatusCode::kCancelled));
}

TEST_F(TaskRunnerTest, CancelOfAFinishedTaskChangesNothing) {
  runner_.Add(MakeTask(1));
  ASSERT_TRUE(workshop_.WaitForResults(1));
  runner_.Cancel(1);
  runner_.Add(MakeTask(2));
  ASSERT_TRUE(workshop_.WaitForResults(2));
  EXPECT_EQ(workshop_.results()[1].task_id(), 2u);
  EXPECT_FALSE(workshop_.results()[1].has_error());
}

TEST_F(TaskRunnerTest, NewEpochDropsEverythingOfTheOld) {
  workshop_.Hold();
  runner_.Add(MakeTask(1));
  runner_.Add(MakeTask(2));
  ASSERT_TRUE(workshop_.WaitForStarts(1));
  runner_.BeginEpoch(2);
  EXPECT_EQ(runner_.Heartbeat().task_id(), 0u);  // the old task is not the new stream's business
  runner_.Add(MakeTask(3, /*epoch=*/2));
  ASSERT_TRUE(workshop_.WaitForStarts(2));  // the old one noticed its cancellation
  workshop_.LetGo();
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_THAT(workshop_.started(), ElementsAre(1, 3));
  ASSERT_EQ(workshop_.results().size(), 1u);
  EXPECT_EQ(workshop_.results()[0].task_id(), 3u);
}

TEST_F(TaskRunnerTest, IgnoresATaskOfAnotherEpoch) {
  runner_.Add(MakeTask(1, /*epoch=*/9));
  runner_.Add(MakeTask(2));
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_THAT(workshop_.started(), ElementsAre(2));
}

TEST_F(TaskRunnerTest, KeepsAResultUntilItIsAcknowledged) {
  runner_.Add(MakeTask(1));
  ASSERT_TRUE(workshop_.WaitForResults(1));
  EXPECT_EQ(runner_.unacknowledged(), 1u);
  runner_.Add(MakeTask(1));  // sent twice: answered from what is kept
  ASSERT_TRUE(workshop_.WaitForResults(2));
  EXPECT_EQ(workshop_.results()[1].task_id(), 1u);
  EXPECT_THAT(workshop_.started(), ElementsAre(1));
  runner_.Acknowledge(1);
  EXPECT_EQ(runner_.unacknowledged(), 0u);
}

TEST_F(TaskRunnerTest, QueuesATaskOnceOnly) {
  workshop_.Hold();
  runner_.Add(MakeTask(1));
  ASSERT_TRUE(workshop_.WaitForStarts(1));
  runner_.Add(MakeTask(1));
  runner_.Add(MakeTask(2));
  runner_.Add(MakeTask(2));
  runner_.Add(MakeTask(3));
  workshop_.LetGo();
  ASSERT_TRUE(workshop_.WaitForResults(3));
  EXPECT_THAT(workshop_.started(), ElementsAre(1, 2, 3));
}

TEST_F(TaskRunnerTest, EndsWhileATaskRuns) {
  {
    TaskRunner runner([this](const v1::Task& task,
                             TaskControl* control) { return workshop_.Execute(task, control); },
                      [this](const v1::TaskResult& result) { workshop_.OnResult(result); }, [] {});
    runner.BeginEpoch(1);
    workshop_.Hold();
    runner.Add(MakeTask(1));
    runner.Add(MakeTask(2));
    ASSERT_TRUE(workshop_.WaitForStarts(1));
  }
  EXPECT_THAT(workshop_.started(), ElementsAre(1));
  EXPECT_THAT(workshop_.results(), IsEmpty());
}

TEST(TaskControlTest, StepsAreTwentiethsOfTheWholeTask) {
  int steps = 0;
  TaskControl control([&] { ++steps; });
  const Control part = control.Part(0.5, 1);
  for (int i = 0; i <= 1000; ++i) part.progress(i / 1000.0);
  EXPECT_EQ(control.progress(), 1);
  EXPECT_EQ(steps, 11);  // to 0.5 at first, then 0.55, 0.60, ... 1
}

TEST(TaskControlTest, CancelInterruptsNowAndLater) {
  TaskControl control;
  int interrupts = 0;
  {
    const TaskControl::Interruptible interruptible(&control, [&] { ++interrupts; });
    EXPECT_EQ(interrupts, 0);
    control.Cancel();
    EXPECT_EQ(interrupts, 1);
  }
  control.Cancel();
  EXPECT_EQ(interrupts, 1);
  const TaskControl::Interruptible late(&control, [&] { ++interrupts; });
  EXPECT_EQ(interrupts, 2);
  EXPECT_EQ(control.CheckCancelled().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace espalier
