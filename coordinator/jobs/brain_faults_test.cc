// Workers that are lost, fail or lie.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "coordinator/jobs/testing/brain_harness.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing_fakes::BrainHarness;
using testing_fakes::FingerprintOf;
using testing_fakes::kHarnessLease;
using testing_fakes::TinySpec;

// ---- Losses ----

TEST(BrainFaultsTest, TasksOfALostWorkerAreFirstInLineInTheirOldOrder) {
  BrainHarness harness;
  harness.RunToSearch(2);
  std::vector<std::string> lost;
  for (const SendTask& task : harness.open()) {
    if (task.worker == 1) lost.push_back(FingerprintOf(task));
  }
  ASSERT_THAT(lost, SizeIs(2));
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  std::erase_if(harness.open(), [](const SendTask& task) { return task.worker == 1; });
  const size_t before = harness.open().size();
  while (!harness.open().empty() && !lost.empty()) {
    harness.Answer(harness.open().front());
    EXPECT_EQ(FingerprintOf(harness.open().back()), lost.front());
    lost.erase(lost.begin());
  }
  EXPECT_EQ(before, 2u);
}

TEST(BrainFaultsTest, ALeaseThatRanOutClosesTheStreamAndItsAnswersCountNoMore) {
  BrainHarness harness;
  harness.RunToSearch(1);
  const SendTask task = harness.open().front();
  harness.Advance(kHarnessLease);
  harness.Handle(Tick{});
  EXPECT_THAT(harness.Taken<CloseWorker>(), IsEmpty());
  harness.Advance(1);
  harness.Handle(Tick{});
  const std::vector<CloseWorker> closed = harness.Taken<CloseWorker>();
  ASSERT_THAT(closed, SizeIs(1));
  EXPECT_EQ(closed[0].worker, 1u);
  EXPECT_THAT(std::string(closed[0].status.message()), HasSubstr("attach again"));
  const int64_t done = harness.Job().progress.done;
  harness.Answer(task);
  EXPECT_EQ(harness.Job().progress.done, done);
  EXPECT_THAT(harness.brain().Workers(), IsEmpty());
}

TEST(BrainFaultsTest, AHeartbeatRenewsTheLease) {
  BrainHarness harness;
  harness.Attach(1);
  for (int i = 0; i < 5; ++i) {
    harness.Advance(kHarnessLease);
    harness.Heartbeat(1, 0, 0);
    harness.Handle(Tick{});
  }
  EXPECT_THAT(harness.brain().Workers(), SizeIs(1));
}

TEST(BrainFaultsTest, AnUploadRenewsTheLease) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask task = harness.RunToTask<ExportWork>();
  for (int i = 0; i < 5; ++i) {
    harness.Advance(kHarnessLease);
    EXPECT_TRUE(harness.brain().UploadCame(1, task.task, task.epoch, 0, harness.now()).ok());
    harness.Handle(Tick{});
  }
  EXPECT_THAT(harness.brain().Workers(), SizeIs(1));
  // One that is refused renews nothing.
  harness.Advance(kHarnessLease + 1);
  EXPECT_FALSE(harness.brain().UploadCame(1, task.task, task.epoch + 1, 0, harness.now()).ok());
  harness.Handle(Tick{});
  EXPECT_THAT(harness.brain().Workers(), IsEmpty());
}

TEST(BrainFaultsTest, ACandidateThatLostTwoWorkersIsGivenUpAndTheJobGoesOn) {
  BrainHarness harness;
  harness.RunToSearch(1);
  const std::string killer = FingerprintOf(harness.open().front());
  for (WorkerKey next = 2; next <= 3; ++next) {
    harness.Handle(WorkerLost{.worker = next - 1, .reason = "gone"});
    harness.open().clear();
    harness.Attach(next);
    harness.Answer(harness.open().front());  // the load
  }
  EXPECT_THAT(harness.Messages(), HasSubstr("candidate 0 of generation 0 is given up: worker-2"));
  for (const SendTask& task : harness.open()) EXPECT_NE(FingerprintOf(task), killer);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
  EXPECT_THAT(harness.Population(), HasSubstr("\"fitness\":null"));
}

TEST(BrainFaultsTest, OnlyTheTaskInHandIsToBlameForALoss) {
  BrainHarness harness;
  harness.RunToSearch(1);
  // The second task of the window is lost with its worker five times, each time behind another.
  const std::string innocent = FingerprintOf(harness.open()[1]);
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  harness.open().clear();
  harness.Attach(2);
  harness.Answer(harness.open().front());
  harness.Handle(WorkerLost{.worker = 2, .reason = "gone"});
  harness.open().clear();
  harness.Attach(3);
  harness.Answer(harness.open().front());
  EXPECT_EQ(FingerprintOf(harness.open().front()), innocent);
}

TEST(BrainFaultsTest, AGoodbyeBlamesNobody) {
  BrainHarness harness;
  harness.RunToSearch(1);
  for (WorkerKey next = 2; next < 8; ++next) {
    harness.Handle(WorkerLeft{.worker = next - 1, .reason = "preempted"});
    harness.open().clear();
    harness.Attach(next);
    harness.Answer(harness.open().front());
  }
  harness.RunToEnd();
  EXPECT_THAT(harness.Population(), Not(HasSubstr("null")));
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded);
}

TEST(BrainFaultsTest, AWorkerThatHandsATaskBackIsAskedToAttachAgain) {
  BrainHarness harness;
  harness.RunToSearch(1);
  harness.FailWith(harness.open().front(), absl::CancelledError("stopping"));
  EXPECT_THAT(harness.Taken<CloseWorker>(), SizeIs(1));
  EXPECT_THAT(harness.brain().Workers(), IsEmpty());
  EXPECT_EQ(harness.Job().progress.waiting_for, "a worker to attach");
}

TEST(BrainFaultsTest, APhaseThatLostTwoWorkersFailsTheJob) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunToTask<CalibrateWork>();
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  harness.open().clear();
  harness.Attach(2);
  harness.RunToTask<CalibrateWork>();
  harness.Handle(WorkerLost{.worker = 2, .reason = "gone"});
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, AllOf(HasSubstr("calibration failed 2 times"),
                                         HasSubstr("worker-2 (host-2) was lost")));
  EXPECT_THAT(harness.Taken<ReleaseJob>(), SizeIs(1));
}

// Its first worker leaves in the middle of the search: whoever comes must calibrate first.
void RunToALeave(BrainHarness& harness) {
  harness.Attach(1);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  harness.RunToTask<EvaluateWork>();
  harness.Handle(WorkerLeft{.worker = 1, .reason = "preempted"});
  harness.open().clear();
}

// A worker that cannot calibrate, for example because its memory is too small.
TEST(BrainFaultsTest, AWorkerThatCannotCalibrateServesTheJobNoMore) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  harness.RunToTask<EvaluateWork>();
  harness.Attach(2);
  int failed = 0;
  for (;;) {
    const auto calibrates = [](const SendTask& task) {
      return task.worker == 2 && std::holds_alternative<CalibrateWork>(task.work);
    };
    SendTask found;
    harness.RunUntil([&](const SendTask& task) {
      if (calibrates(task)) found = task;
      return calibrates(task);
    });
    if (found.task == 0) break;
    harness.FailWith(found, absl::ResourceExhaustedError("too little memory"));
    ASSERT_LE(++failed, 2);
  }
  EXPECT_EQ(failed, 2);
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
  EXPECT_THAT(harness.Messages(), HasSubstr("serves this job no more: calibration failed 2 times"));
}

TEST(BrainFaultsTest, WhenNoWorkerCanCalibrateTheJobFails) {
  BrainHarness harness;
  RunToALeave(harness);
  harness.Attach(2);
  for (int i = 0; i < 2; ++i) {
    harness.FailWith(harness.RunToTask<CalibrateWork>(),
                     absl::ResourceExhaustedError("too little"));
  }
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("calibration failed 2 times, the last time: "));
}

// Two misfortunes with successes between them.
TEST(BrainFaultsTest, WorkersLostOverAWholeJobDoNotAddUp) {
  BrainHarness harness;
  RunToALeave(harness);
  WorkerKey next = 2;
  for (int i = 0; i < 3; ++i) {
    harness.Attach(next);
    harness.RunToTask<CalibrateWork>();
    harness.Handle(WorkerLost{.worker = next, .reason = "gone"});
    harness.open().clear();
    harness.Attach(++next);
    harness.RunToTask<EvaluateWork>();
    harness.Handle(WorkerLeft{.worker = next, .reason = "preempted"});
    harness.open().clear();
    ++next;
  }
  harness.Attach(next);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainFaultsTest, LoadingThatLostTwoWorkersFailsTheJob) {
  BrainHarness harness;
  harness.Submit(TinySpec(1, "/results/1"));
  for (WorkerKey worker = 1; worker <= 2; ++worker) {
    harness.Attach(worker);
    harness.Handle(WorkerLost{.worker = worker, .reason = "gone"});
  }
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("enough memory"));
}

// ---- Errors and lies ----

TEST(BrainFaultsTest, AnErrorIsTriedAgainOnAnotherWorkerThenGivenUp) {
  BrainHarness harness;
  harness.RunToSearch(2);
  const SendTask first = harness.open().front();
  harness.FailWith(first, absl::ResourceExhaustedError("out of memory: 3 GiB"));
  const auto again = std::find_if(
      harness.open().begin(), harness.open().end(),
      [&](const SendTask& task) { return FingerprintOf(task) == FingerprintOf(first); });
  if (again == harness.open().end()) {
    // The other's window is full: it gets it when it has room.
    const WorkerKey other = first.worker == 1 ? 2 : 1;
    const SendTask full = *std::find_if(harness.open().begin(), harness.open().end(),
                                        [&](const SendTask& t) { return t.worker == other; });
    harness.Answer(full);
  }
  const SendTask second = *std::find_if(
      harness.open().begin(), harness.open().end(),
      [&](const SendTask& task) { return FingerprintOf(task) == FingerprintOf(first); });
  EXPECT_NE(second.worker, first.worker);
  harness.FailWith(second, absl::ResourceExhaustedError("out of memory: 3 GiB"));
  EXPECT_THAT(harness.Messages(), AllOf(HasSubstr("is tried again"), HasSubstr("is given up"),
                                        HasSubstr("out of memory: 3 GiB")));
}

TEST(BrainFaultsTest, AJobOfWhichEveryCandidateFailsFailsWithTheReason) {
  BrainHarness harness;
  harness.RunToSearch(1);
  while (harness.Job().state == JobState::kRunning) {
    ASSERT_FALSE(harness.open().empty());
    harness.FailWith(harness.open().front(), absl::InternalError("the device burns"));
  }
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error,
              AllOf(HasSubstr("every candidate"), HasSubstr("the device burns")));
}

TEST(BrainFaultsTest, InfiniteLossesAreScoresAndNoFailures) {
  BrainHarness harness;
  harness.RunToSearch(1);
  const double inf = std::numeric_limits<double>::infinity();
  harness.AnswerWith(harness.open().front(),
                     EvaluateResult{.nll_sums = {inf, 1}, .predictions_per_sequence = 7});
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kSearch);
  EXPECT_EQ(harness.Job().progress.best_perplexity, 0);
}

struct Malformed {
  std::string name;
  Outcome outcome;
  std::string reason;
};

class MalformedAnswerTest : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedAnswerTest, IsRefusedWithAReason) {
  BrainHarness harness;
  harness.RunToSearch(1);
  harness.Messages();
  harness.AnswerWith(harness.open().front(), GetParam().outcome);
  EXPECT_THAT(harness.Messages(), HasSubstr("malformed answer: " + GetParam().reason));
  EXPECT_EQ(harness.Job().progress.done, 0);
  EXPECT_EQ(harness.Job().state, JobState::kRunning);
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedAnswerTest,
    ::testing::Values(Malformed{"OtherKind", ExportResult{}, "the answer is of another kind"},
                      Malformed{"Nothing", std::monostate(), "the answer is of another kind"},
                      Malformed{"TooFewSequences",
                                EvaluateResult{.nll_sums = {1}, .predictions_per_sequence = 7},
                                "an evaluation of 2 sequences was answered with losses of 1"},
                      Malformed{"OtherPredictions",
                                EvaluateResult{.nll_sums = {1, 1}, .predictions_per_sequence = 8},
                                "sequences of 8 tokens have 7 predictions"},
                      Malformed{"NegativeLoss",
                                EvaluateResult{.nll_sums = {1, -1}, .predictions_per_sequence = 7},
                                "a sum of negative log-likelihoods cannot be -1"}),
    [](const auto& info) { return info.param.name; });

TEST(BrainFaultsTest, ScoresOfAnotherShapeAreRefused) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask calibrate = harness.RunToTask<CalibrateWork>();
  auto answer = std::get<CalibrateResult>(testing_fakes::FakeAnswer(calibrate));
  answer.scores.layers[1].mlp.pop_back();
  harness.AnswerWith(calibrate, answer);
  EXPECT_THAT(harness.Messages(), HasSubstr("the scores of layer 1"));
  answer = std::get<CalibrateResult>(testing_fakes::FakeAnswer(calibrate));
  answer.scores.layers[0].attention[1][0] = std::nan("");
  harness.AnswerWith(harness.open().front(), answer);
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("the scores of layer 0"));
}

TEST(BrainFaultsTest, AWorkerWithAnotherVersionIsRefusedByName) {
  BrainHarness harness;
  WorkerInfo info = testing_fakes::Info("old");
  info.version = "0.0.9";
  harness.Handle(WorkerAttached{.worker = 1, .info = info});
  const std::vector<CloseWorker> closed = harness.Taken<CloseWorker>();
  ASSERT_THAT(closed, SizeIs(1));
  EXPECT_EQ(closed[0].status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(closed[0].status.message()),
              AllOf(HasSubstr("0.0.9"), HasSubstr(testing_fakes::kTestVersion)));
  EXPECT_THAT(harness.brain().Workers(), IsEmpty());
}

TEST(BrainFaultsTest, AWorkerWithAnotherModelIsRefusedForTheJob) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(TinySpec(1, "/results/1"));
  const std::vector<SendTask> loads = harness.open();
  ASSERT_THAT(loads, SizeIs(2));
  harness.Answer(loads[0]);
  harness.Messages();
  const ModelDigest other = testing_fakes::FakeDigest("/models/other", loads[1].stage);
  harness.AnswerWith(loads[1], LoadResult{.digest = other});
  EXPECT_THAT(harness.Messages(), AllOf(HasSubstr("worker-2 (host-2) cannot serve this job"),
                                        HasSubstr(HashOf(other).substr(0, 12))));
  harness.RunUntil([](const SendTask& task) {
    EXPECT_EQ(task.worker, 1u);
    return false;
  });
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded);
}

TEST(BrainFaultsTest, AModelThatNobodyCanLoadFailsTheJob) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(TinySpec(1, "/results/1"));
  const std::vector<SendTask> loads = harness.open();
  harness.FailWith(loads[0], absl::NotFoundError("model.safetensors: no such file"));
  EXPECT_EQ(harness.Job().state, JobState::kRunning);
  harness.FailWith(loads[1], absl::NotFoundError("model.safetensors: no such file"));
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("model.safetensors: no such file"));
}

TEST(BrainFaultsTest, AnAnswerCountsOnceAndIsAcknowledgedEachTime) {
  BrainHarness harness;
  harness.RunToSearch(1);
  harness.Answer(harness.open().front());
  harness.Taken<SendAck>();
  const SendTask task = harness.open().front();
  harness.Answer(task);
  const int64_t done = harness.Job().progress.done;
  harness.Answer(task);
  EXPECT_EQ(harness.Job().progress.done, done);
  EXPECT_THAT(harness.Taken<SendAck>(), SizeIs(2));
}

TEST(BrainFaultsTest, AnAnswerUnderAnotherEpochIsIgnored) {
  BrainHarness harness;
  harness.RunToSearch(1);
  harness.Taken<SendAck>();
  SendTask stale = harness.open().front();
  stale.epoch -= 1;
  harness.Answer(stale);
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kInitialize);
  EXPECT_THAT(harness.Taken<SendAck>(), IsEmpty());
}

TEST(BrainFaultsTest, AnAnswerOfAnotherWorkerIsIgnored) {
  BrainHarness harness;
  harness.RunToSearch(2);
  const SendTask task = harness.open().front();
  SendTask stolen = task;
  stolen.worker = task.worker == 1 ? 2 : 1;
  stolen.epoch = task.epoch == 1 ? 2 : 1;
  harness.Answer(stolen);
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kInitialize);
}

}  // namespace
}  // namespace espalier
