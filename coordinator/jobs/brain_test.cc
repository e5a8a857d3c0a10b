#include "coordinator/jobs/brain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "coordinator/jobs/testing/brain_harness.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing_fakes::BrainHarness;
using testing_fakes::kHarnessLease;
using testing_fakes::TinySpec;

// Workers that hold the model, with the first candidates in their windows.
void RunToSearch(BrainHarness& harness, int workers) {
  for (int i = 1; i <= workers; ++i) harness.Attach(i);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunUntil([&](const SendTask& task) {
    return std::holds_alternative<EvaluateWork>(task.work) &&
           harness.Job().progress.phase == JobPhase::kInitialize;
  });
}

std::vector<WorkerKey> Receivers(const std::vector<SendTask>& tasks) {
  std::vector<WorkerKey> workers;
  for (const SendTask& task : tasks) workers.push_back(task.worker);
  return workers;
}

std::string FingerprintOf(const SendTask& task) {
  return Fingerprint(*std::get<EvaluateWork>(task.work).subnet);
}

// ---- The whole way ----

TEST(BrainTest, AJobRunsFromSubmissionToResult) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunToEnd();
  const JobView job = harness.Job();
  ASSERT_EQ(job.state, JobState::kSucceeded) << job.error;
  EXPECT_EQ(job.progress.phase, JobPhase::kExport);
  ASSERT_EQ(job.results.size(), 1);
  const ResultView& result = *job.results.front();
  EXPECT_EQ(result.dense.ratio, 1.0);
  EXPECT_LT(result.searched.ratio, 1.0);
  EXPECT_EQ(result.searched.parameters, result.reformed.parameters);
  EXPECT_LE(result.searched.search_perplexity, result.initial.search_perplexity);
  EXPECT_LT(result.reformed.search_perplexity, result.searched.search_perplexity);
  EXPECT_LT(result.reformed.perplexity, result.searched.perplexity);
  EXPECT_TRUE(result.held_out);
  EXPECT_EQ(result.candidates, 3 * 7);
  EXPECT_EQ(result.output, "/results/1");
  // Five sequences of eight tokens, each a task of half a second.
  EXPECT_DOUBLE_EQ(result.dense.tokens_per_second, 16);
}

TEST(BrainTest, WarningsAreSaidOnceAndReported) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const auto answer_next = [&](auto is_of_kind, const std::vector<std::string>& warnings) {
    SendTask task;
    harness.RunUntil([&](const SendTask& open) {
      task = open;
      return is_of_kind(open.work);
    });
    harness.AnswerWith(task, testing_fakes::FakeAnswer(task), {.warnings = warnings});
  };
  answer_next([](const Work& work) { return std::holds_alternative<CalibrateWork>(work); },
              {"layer 1 MLP: singular"});
  const auto evaluates = [](const Work& work) {
    return std::holds_alternative<EvaluateWork>(work);
  };
  answer_next(evaluates, {"layer 2 down_proj: singular", "layer 1 MLP: singular"});
  answer_next(evaluates, {"layer 2 down_proj: singular"});
  harness.RunToEnd();
  EXPECT_THAT(harness.Job().results.front()->warnings,
              ElementsAre("layer 1 MLP: singular", "layer 2 down_proj: singular"));
  const std::string messages = harness.Messages();
  for (const std::string text :
       {"warning: layer 1 MLP: singular\n", "warning: layer 2 down_proj: singular\n"}) {
    const size_t place = messages.find(text);
    ASSERT_NE(place, std::string::npos) << messages;
    EXPECT_EQ(messages.find(text, place + 1), std::string::npos);
  }
}

TEST(BrainTest, ThousandsOfWarningsAreCutShort) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  SendTask task;
  harness.RunUntil([&](const SendTask& open) {
    task = open;
    return std::holds_alternative<CalibrateWork>(open.work);
  });
  std::vector<std::string> warnings;
  for (int i = 0; i < 1000; ++i) warnings.push_back("warning " + std::to_string(i));
  harness.AnswerWith(task, testing_fakes::FakeAnswer(task), {.warnings = warnings});
  harness.RunToEnd();
  const std::vector<std::string>& kept = harness.Job().results.front()->warnings;
  ASSERT_THAT(kept, SizeIs(51));
  EXPECT_EQ(kept[49], "warning 49");
  EXPECT_EQ(kept[50], "there were more warnings than are kept");
}

TEST(BrainTest, ThePerplexityOfTheTableIsThatOfTheAnswers) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunToEnd();
  const PreparedJob prepared = testing_fakes::Prepared(TinySpec(1, "/results/1"));
  EvaluateWork dense;
  dense.data_set = prepared.eval.hash;
  dense.count = prepared.eval.count;
  SendTask task;
  task.work = dense;
  const auto answer = std::get<EvaluateResult>(testing_fakes::FakeAnswer(task));
  double mean = 0;
  for (const double nll : answer.nll_sums) mean += nll / 7 / 5;
  EXPECT_DOUBLE_EQ(harness.Job().results.front()->dense.perplexity, std::exp(mean));
}

TEST(BrainTest, WithoutHeldOutTextTheTableIsOnTheSearchText) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1", /*held_out=*/false));
  harness.RunToEnd();
  const ResultView& result = *harness.Job().results.front();
  EXPECT_FALSE(result.held_out);
  for (const MeasurementView* row :
       {&result.dense, &result.initial, &result.searched, &result.reformed}) {
    EXPECT_EQ(row->perplexity, row->search_perplexity);
    EXPECT_GT(row->perplexity, 1);
  }
  EXPECT_LT(result.reformed.perplexity, result.searched.perplexity);
}

TEST(BrainTest, WithoutReformationTheLastRowIsTheThird) {
  BrainHarness harness;
  harness.Attach(1);
  JobSpec spec = TinySpec(1, "/results/1");
  spec.reformation.method = ReformationMethod::kNone;
  harness.Submit(spec);
  std::vector<SendTask> seen;
  harness.RunUntil([&seen](const SendTask& task) {
    seen.push_back(task);
    return false;
  });
  const ResultView& result = *harness.Job().results.front();
  EXPECT_EQ(result.reformed.perplexity, result.searched.perplexity);
  for (const SendTask& task : seen) EXPECT_FALSE(std::holds_alternative<ReformWork>(task.work));
}

// What is exported then has inherited weights, and the search's candidates had others.
TEST(BrainTest, WithoutReformationTheLastRowIsOfTheWeightsThatAreExported) {
  for (const bool held_out : {true, false}) {
    BrainHarness harness;
    harness.Attach(1);
    JobSpec spec = testing_fakes::TinyAllocationSpec(1, "/results/1", held_out);
    spec.reformation.method = ReformationMethod::kNone;
    spec.more_ratios = {0.8};
    harness.Submit(spec);
    int exports = 0;
    harness.RunUntil([&](const SendTask& task) {
      if (const auto* work = std::get_if<ExportWork>(&task.work)) {
        ++exports;
        EXPECT_EQ(work->reformation.method, ReformationMethod::kNone);
      }
      return false;
    });
    EXPECT_EQ(exports, 2);
    EXPECT_THAT(harness.Messages(), Not(HasSubstr("inf")));
    ASSERT_THAT(harness.Job().results, SizeIs(2));
    for (const auto& result : harness.Job().results) {
      EXPECT_GT(result->reformed.perplexity, result->searched.perplexity) << held_out;
      EXPECT_TRUE(std::isfinite(result->reformed.perplexity));
    }
  }
}

// A baseline goes through the same phases with one candidate, and asks for scores of its own.
TEST(BrainTest, ABaselineIsAJobOfOneCandidate) {
  for (const SearchMethod method : {SearchMethod::kRandom, SearchMethod::kMagnitude,
                                    SearchMethod::kWandaSp, SearchMethod::kFlap}) {
    BrainHarness harness;
    harness.Attach(1);
    JobSpec spec = TinySpec(1, "/results/1");
    spec.method = method;
    spec.tolerance = 0.2;
    spec.align_mlp = 1;
    spec.align_head_dim = 2;
    spec.search.min_layers = 1;
    const bool flap = method == SearchMethod::kFlap;
    spec.reformation.method = flap ? ReformationMethod::kBias : ReformationMethod::kNone;
    harness.Submit(spec);
    std::vector<SendTask> seen;
    harness.RunUntil([&seen](const SendTask& task) {
      seen.push_back(task);
      return false;
    });
    const JobView job = harness.Job();
    ASSERT_EQ(job.state, JobState::kSucceeded) << job.error;
    const ResultView& result = *job.results.front();
    EXPECT_EQ(result.candidates, 1);
    EXPECT_EQ(result.initial.perplexity, result.searched.perplexity);
    EXPECT_EQ(result.searched.search_perplexity, result.initial.search_perplexity);
    EXPECT_LE(result.searched.ratio, spec.ratio);
    EXPECT_EQ(result.reformed.perplexity < result.searched.perplexity, flap);
    const std::string population = harness.Population();
    EXPECT_EQ(std::count(population.begin(), population.end(), '\n'), 1);
    for (const SendTask& task : seen) {
      const auto* calibrate = std::get_if<CalibrateWork>(&task.work);
      if (calibrate == nullptr) continue;
      EXPECT_EQ(calibrate->scores, flap                               ? ScoreKind::kFluctuation
                                   : method == SearchMethod::kWandaSp ? ScoreKind::kWanda
                                                                      : ScoreKind::kMagnitude);
      EXPECT_FALSE(calibrate->steps.has_value());
    }
  }
}

TEST(BrainTest, AReformationThatDoesNotHelpIsSaid) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask reform = harness.RunToTask<ReformWork>();
  harness.Answer(reform);
  while (harness.Job().progress.phase == JobPhase::kReform) {
    const SendTask task = harness.open().front();
    auto answer = std::get<EvaluateResult>(testing_fakes::FakeAnswer(task));
    for (double& nll : answer.nll_sums) nll *= 2;
    harness.AnswerWith(task, answer);
  }
  EXPECT_THAT(harness.Messages(), HasSubstr("it did not help"));
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded);
}

// ---- Dispatch ----

TEST(BrainTest, WaitingForAWorkerShows) {
  BrainHarness harness;
  harness.Submit(TinySpec(1, "/results/1"));
  EXPECT_EQ(harness.Job().state, JobState::kRunning);
  EXPECT_EQ(harness.Job().progress.waiting_for, "a worker to attach");
  harness.Attach(1);
  EXPECT_EQ(harness.Job().progress.waiting_for, "");
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  EXPECT_EQ(harness.Job().progress.waiting_for, "a worker to attach");
}

TEST(BrainTest, EverybodyGetsOneTaskBeforeAnybodyGetsTwo) {
  BrainHarness harness;
  RunToSearch(harness, 3);
  // Seven candidates; what the calibrating worker got first is its own.
  std::vector<WorkerKey> receivers = Receivers(harness.open());
  ASSERT_THAT(receivers, SizeIs(6));
  std::sort(receivers.begin(), receivers.begin() + 3);
  std::sort(receivers.begin() + 3, receivers.end());
  EXPECT_THAT(receivers, ElementsAre(1, 2, 3, 1, 2, 3));
}

TEST(BrainTest, DataSetsGoOncePerStreamAndBeforeTheirTask) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunToEnd();
  std::vector<std::string> hashes;
  for (const SendDataSet& sent : harness.Taken<SendDataSet>()) hashes.push_back(sent.hash);
  EXPECT_THAT(hashes, ElementsAre("calibration", "search", "eval"));
}

TEST(BrainTest, ReformedWorkGoesToTheWorkerThatCalibrated) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(TinySpec(1, "/results/1"));
  WorkerKey calibrated = 0;
  int reformed = 0;
  harness.RunUntil([&](const SendTask& task) {
    if (std::holds_alternative<CalibrateWork>(task.work)) calibrated = task.worker;
    const auto* evaluate = std::get_if<EvaluateWork>(&task.work);
    const bool needs =
        std::holds_alternative<ReformWork>(task.work) ||
        std::holds_alternative<ExportWork>(task.work) ||
        (evaluate != nullptr && evaluate->reformation.method != ReformationMethod::kNone);
    if (needs) {
      ++reformed;
      EXPECT_EQ(task.worker, calibrated);
    }
    return false;
  });
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded);
  EXPECT_GT(reformed, 3);
}

TEST(BrainTest, WhenTheCalibratedWorkerIsLostAnotherReforms) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask reform = harness.RunToTask<ReformWork>();
  harness.Attach(2);
  harness.RunUntil(
      [](const SendTask& task) { return !std::holds_alternative<LoadWork>(task.work); });
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  std::erase_if(harness.open(), [](const SendTask& task) { return task.worker == 1; });
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

// ---- Losses ----

TEST(BrainTest, TasksOfALostWorkerAreFirstInLineInTheirOldOrder) {
  BrainHarness harness;
  RunToSearch(harness, 2);
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

TEST(BrainTest, ALeaseThatRanOutClosesTheStreamAndItsAnswersCountNoMore) {
  BrainHarness harness;
  RunToSearch(harness, 1);
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

TEST(BrainTest, AHeartbeatRenewsTheLease) {
  BrainHarness harness;
  harness.Attach(1);
  for (int i = 0; i < 5; ++i) {
    harness.Advance(kHarnessLease);
    harness.Heartbeat(1, 0, 0);
    harness.Handle(Tick{});
  }
  EXPECT_THAT(harness.brain().Workers(), SizeIs(1));
}

TEST(BrainTest, AnUploadRenewsTheLease) {
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

TEST(BrainTest, ACandidateThatLostTwoWorkersIsGivenUpAndTheJobGoesOn) {
  BrainHarness harness;
  RunToSearch(harness, 1);
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

TEST(BrainTest, OnlyTheTaskInHandIsToBlameForALoss) {
  BrainHarness harness;
  RunToSearch(harness, 1);
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

TEST(BrainTest, AGoodbyeBlamesNobody) {
  BrainHarness harness;
  RunToSearch(harness, 1);
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

TEST(BrainTest, AWorkerThatHandsATaskBackIsAskedToAttachAgain) {
  BrainHarness harness;
  RunToSearch(harness, 1);
  harness.FailWith(harness.open().front(), absl::CancelledError("stopping"));
  EXPECT_THAT(harness.Taken<CloseWorker>(), SizeIs(1));
  EXPECT_THAT(harness.brain().Workers(), IsEmpty());
  EXPECT_EQ(harness.Job().progress.waiting_for, "a worker to attach");
}

TEST(BrainTest, APhaseThatLostTwoWorkersFailsTheJob) {
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

// A worker that cannot calibrate, for example because its memory is too small.
TEST(BrainTest, AWorkerThatCannotCalibrateServesTheJobNoMore) {
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

TEST(BrainTest, WhenNoWorkerCanCalibrateTheJobFails) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  harness.RunToTask<EvaluateWork>();
  harness.Handle(WorkerLeft{.worker = 1, .reason = "preempted"});
  harness.open().clear();
  harness.Attach(2);
  for (int i = 0; i < 2; ++i) {
    harness.FailWith(harness.RunToTask<CalibrateWork>(),
                     absl::ResourceExhaustedError("too little"));
  }
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("calibration failed 2 times, the last time: "));
}

// Two misfortunes with successes between them.
TEST(BrainTest, WorkersLostOverAWholeJobDoNotAddUp) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  harness.RunToTask<EvaluateWork>();
  harness.Handle(WorkerLeft{.worker = 1, .reason = "preempted"});
  harness.open().clear();
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

TEST(BrainTest, LoadingThatLostTwoWorkersFailsTheJob) {
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

TEST(BrainTest, AnErrorIsTriedAgainOnAnotherWorkerThenGivenUp) {
  BrainHarness harness;
  RunToSearch(harness, 2);
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

TEST(BrainTest, AJobOfWhichEveryCandidateFailsFailsWithTheReason) {
  BrainHarness harness;
  RunToSearch(harness, 1);
  while (harness.Job().state == JobState::kRunning) {
    ASSERT_FALSE(harness.open().empty());
    harness.FailWith(harness.open().front(), absl::InternalError("the device burns"));
  }
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error,
              AllOf(HasSubstr("every candidate"), HasSubstr("the device burns")));
}

TEST(BrainTest, InfiniteLossesAreScoresAndNoFailures) {
  BrainHarness harness;
  RunToSearch(harness, 1);
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
  RunToSearch(harness, 1);
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

TEST(BrainTest, ScoresOfAnotherShapeAreRefused) {
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

TEST(BrainTest, AWorkerWithAnotherVersionIsRefusedByName) {
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

TEST(BrainTest, AWorkerWithAnotherModelIsRefusedForTheJob) {
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

TEST(BrainTest, AModelThatNobodyCanLoadFailsTheJob) {
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

TEST(BrainTest, AnAnswerCountsOnceAndIsAcknowledgedEachTime) {
  BrainHarness harness;
  RunToSearch(harness, 1);
  harness.Answer(harness.open().front());
  harness.Taken<SendAck>();
  const SendTask task = harness.open().front();
  harness.Answer(task);
  const int64_t done = harness.Job().progress.done;
  harness.Answer(task);
  EXPECT_EQ(harness.Job().progress.done, done);
  EXPECT_THAT(harness.Taken<SendAck>(), SizeIs(2));
}

TEST(BrainTest, AnAnswerUnderAnotherEpochIsIgnored) {
  BrainHarness harness;
  RunToSearch(harness, 1);
  harness.Taken<SendAck>();
  SendTask stale = harness.open().front();
  stale.epoch -= 1;
  harness.Answer(stale);
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kInitialize);
  EXPECT_THAT(harness.Taken<SendAck>(), IsEmpty());
}

TEST(BrainTest, AnAnswerOfAnotherWorkerIsIgnored) {
  BrainHarness harness;
  RunToSearch(harness, 2);
  const SendTask task = harness.open().front();
  SendTask stolen = task;
  stolen.worker = task.worker == 1 ? 2 : 1;
  stolen.epoch = task.epoch == 1 ? 2 : 1;
  harness.Answer(stolen);
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kInitialize);
}

// ---- Clients ----

TEST(BrainTest, CancellingCancelsAtTheWorkersAndReleases) {
  BrainHarness harness;
  RunToSearch(harness, 2);
  const size_t open = harness.open().size();
  ASSERT_EQ(open, 4u);
  const SendTask late = harness.open().front();
  ASSERT_TRUE(harness.brain().Cancel(1, "enough", harness.now(), harness.actions()).ok());
  EXPECT_THAT(harness.Taken<SendCancel>(), SizeIs(open));
  EXPECT_THAT(harness.Taken<ReleaseJob>(), SizeIs(1));
  EXPECT_EQ(harness.Job().state, JobState::kCancelled);
  const uint64_t events = harness.Taken<PublishEvent>().back().number;
  EXPECT_GT(events, 0u);
  // A late answer changes nothing, and the workers are free for others.
  harness.Answer(late);
  EXPECT_THAT(harness.Taken<PublishEvent>(), IsEmpty());
  harness.Submit(TinySpec(2, "/results/1"));
  harness.RunToEnd();
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded);
}

TEST(BrainTest, CancellingTwiceOrTooLateIsNoError) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.RunToEnd();
  EXPECT_TRUE(harness.brain().Cancel(1, "enough", harness.now(), harness.actions()).ok());
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded);
  const absl::Status unknown =
      harness.brain().Cancel(7, "enough", harness.now(), harness.actions());
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("job-7"));
}

TEST(BrainTest, ASubmissionIsOneJobHoweverOftenItComes) {
  BrainHarness harness;
  Actions actions;
  const auto first = harness.brain().Submit(TinySpec(1, "/results/1"), "key", 0, &actions);
  const auto again = harness.brain().Submit(TinySpec(1, "/results/1"), "key", 5, &actions);
  EXPECT_EQ(*first, *again);
  EXPECT_THAT(harness.brain().Jobs(), SizeIs(1));
}

TEST(BrainTest, TwoUnfinishedJobsCannotHaveOneOutput) {
  BrainHarness harness;
  harness.Submit(TinySpec(1, "/results/1"));
  const auto second = harness.brain().Submit(TinySpec(2, "/results/./1"), "", 0, harness.actions());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("job-1"));
}

TEST(BrainTest, AFailedPreparationFailsTheJob) {
  BrainHarness harness;
  Actions actions;
  ASSERT_TRUE(harness.brain().Submit(TinySpec(1, "/results/1"), "", 0, &actions).ok());
  harness.Handle(JobPrepared{.job = 1, .prepared = absl::InvalidArgumentError("too little text")});
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_EQ(harness.Job().error, "too little text");
}

TEST(BrainTest, AResultThatCannotBeWrittenFailsTheJob) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.Answer(harness.RunToTask<ExportWork>());
  ASSERT_THAT(harness.Taken<FinishOutput>(), SizeIs(1));
  harness.Handle(OutputDone{.job = 1, .status = absl::ResourceExhaustedError("disk full")});
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("disk full"));
}

TEST(BrainTest, UploadsAreTakenForTheExportInProgressOnly) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask candidate = harness.RunToTask<EvaluateWork>();
  EXPECT_FALSE(harness.brain().CheckUpload(1, candidate.task, candidate.epoch).ok());
  const SendTask task = harness.RunToTask<ExportWork>();
  EXPECT_TRUE(harness.brain().CheckUpload(1, task.task, task.epoch).ok());
  EXPECT_FALSE(harness.brain().CheckUpload(2, task.task, task.epoch).ok());
  EXPECT_FALSE(harness.brain().CheckUpload(1, task.task, task.epoch + 1).ok());
  EXPECT_FALSE(harness.brain().CheckUpload(1, task.task + 1, task.epoch).ok());
  harness.Answer(task);
  EXPECT_EQ(harness.brain().CheckUpload(1, task.task, task.epoch).code(),
            absl::StatusCode::kAborted);
}

// ---- What people see ----

TEST(BrainTest, ProgressFollowsHeartbeatsAndIsThrottled) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  const SendTask calibrate = harness.RunToTask<CalibrateWork>();
  harness.Taken<PublishEvent>();
  for (int i = 1; i <= 300; ++i) {
    harness.Advance(1);
    harness.Heartbeat(1, calibrate.task, i / 600.0);
    harness.Handle(Tick{});
  }
  const std::vector<PublishEvent> events = harness.Taken<PublishEvent>();
  EXPECT_THAT(events, SizeIs(3));
  EXPECT_EQ(events.back().progress.done, 2);  // half of four sequences
  EXPECT_EQ(events.back().progress.total, 4);
  EXPECT_NEAR(events.back().progress.units_per_second, 2 / 0.3, 0.1);
  EXPECT_NEAR(events.back().progress.eta_seconds, 0.3, 0.01);
}

TEST(BrainTest, TheFilesOfTheResultSayWhatWasFound) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TinySpec(1, "/results/1"));
  harness.Answer(harness.RunToTask<ExportWork>());
  const std::vector<FinishOutput> finish = harness.Taken<FinishOutput>();
  ASSERT_THAT(finish, SizeIs(1));
  std::vector<std::string> names;
  for (const auto& file : finish[0].files) names.push_back(file.name);
  EXPECT_THAT(names, ElementsAre("job.yaml", "report.json", "subnet.json"));
  const auto read = SubnetFromJson(finish[0].files[2].contents, testing_fakes::TinyConfig(), "f");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, *finish[0].subnet);
  EXPECT_THAT(finish[0].files[2].contents, Not(HasSubstr("/results/1")));
  const auto report = nlohmann::json::parse(finish[0].files[1].contents);
  EXPECT_EQ(report["output"], "/results/1");
  EXPECT_EQ(report["searched"]["ratio"], ParameterRatio(*read, testing_fakes::TinyConfig()));
}

}  // namespace
}  // namespace espalier
