#include "coordinator/jobs/brain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

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
using testing_fakes::FingerprintOf;
using testing_fakes::kHarnessLease;
using testing_fakes::TinySpec;

std::vector<WorkerKey> Receivers(const std::vector<SendTask>& tasks) {
  std::vector<WorkerKey> workers;
  for (const SendTask& task : tasks) workers.push_back(task.worker);
  return workers;
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
  harness.RunToSearch(3);
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

// ---- Clients ----

TEST(BrainTest, CancellingCancelsAtTheWorkersAndReleases) {
  BrainHarness harness;
  harness.RunToSearch(2);
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
