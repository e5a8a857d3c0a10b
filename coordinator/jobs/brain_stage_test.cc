// Replicas of several stages: how they form, work and fall apart.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "coordinator/jobs/testing/brain_harness.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing_fakes::BrainHarness;
using testing_fakes::TinySpec;

JobSpec InStages(int64_t stages, const std::string& output = "/results/1") {
  JobSpec spec = TinySpec(1, output);
  spec.stages = stages;
  return spec;
}

// Both stages' tasks of the oldest open task.
std::vector<SendTask> Pair(BrainHarness& harness) {
  std::vector<SendTask> pair;
  for (const SendTask& task : harness.open()) {
    if (task.task == harness.open().front().task) pair.push_back(task);
  }
  return pair;
}

template <typename W>
std::vector<SendTask> PairOf(BrainHarness& harness) {
  harness.RunToTask<W>();
  std::vector<SendTask> pair;
  for (const SendTask& task : harness.open()) {
    if (std::holds_alternative<W>(task.work) && (pair.empty() || task.task == pair.front().task)) {
      pair.push_back(task);
    }
  }
  return pair;
}

TEST(BrainStageTest, EachStageGetsItsLayersOfTheSameTask) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  ASSERT_THAT(harness.joins(), SizeIs(2));
  EXPECT_THAT(harness.joins()[0].stage_addresses, ElementsAre("host-1:7072", "host-2:7072"));
  EXPECT_EQ(harness.joins()[0].epoch, harness.joins()[1].epoch);
  EXPECT_EQ(harness.joins()[1].stage, 1);
  const std::vector<SendTask> load = Pair(harness);
  ASSERT_THAT(load, SizeIs(2));
  EXPECT_EQ(load[0].stage, (StageRange{0, 1}));
  EXPECT_EQ(load[1].stage, (StageRange{1, 1}));
  EXPECT_FALSE(load[0].last_stage);
  EXPECT_TRUE(load[1].last_stage);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainStageTest, TheResultIsThatOfOneWorker) {
  BrainHarness alone;
  alone.Attach(1);
  alone.Submit(TinySpec(1, "/results/1"));
  alone.RunToEnd();
  BrainHarness staged;
  for (WorkerKey worker = 1; worker <= 4; ++worker) staged.Attach(worker);
  staged.Submit(InStages(2));
  staged.RunToEnd();
  ASSERT_EQ(staged.Job().state, JobState::kSucceeded) << staged.Job().error;
  EXPECT_EQ(staged.Population(), alone.Population());
  EXPECT_EQ(staged.Job().results.front()->reformed.perplexity,
            alone.Job().results.front()->reformed.perplexity);
}

TEST(BrainStageTest, ABaselinesResultIsThatOfOneWorker) {
  JobSpec spec = TinySpec(1, "/results/1");
  spec.method = SearchMethod::kFlap;
  spec.reformation.method = ReformationMethod::kBias;
  spec.tolerance = 0.2;
  spec.align_mlp = 1;
  BrainHarness alone;
  alone.Attach(1);
  alone.Submit(spec);
  alone.RunToEnd();
  BrainHarness staged;
  staged.Attach(1);
  staged.Attach(2);
  spec.stages = 2;
  staged.Submit(spec);
  staged.RunToEnd();
  ASSERT_EQ(staged.Job().state, JobState::kSucceeded) << staged.Job().error;
  EXPECT_EQ(staged.Population(), alone.Population());
}

TEST(BrainStageTest, AnAnswerCountsWhenAllStagesHaveGivenTheirs) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  const std::vector<SendTask> pair = PairOf<CalibrateWork>(harness);
  ASSERT_THAT(pair, SizeIs(2));
  harness.Taken<SendAck>();
  harness.Answer(pair[1]);
  EXPECT_EQ(harness.Job().progress.phase, JobPhase::kCalibrate);
  EXPECT_THAT(harness.Taken<SendAck>(), IsEmpty());
  harness.Answer(pair[0]);
  EXPECT_GT(harness.Job().progress.phase, JobPhase::kCalibrate);
  EXPECT_THAT(harness.Taken<SendAck>(), SizeIs(2));
}

TEST(BrainStageTest, TheWindowKeepsEveryStageBusy) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  harness.RunUntil(
      [](const SendTask& task) { return std::holds_alternative<EvaluateWork>(task.work); });
  // Three tasks for each of two stages.
  EXPECT_THAT(harness.open(), SizeIs(6));
}

TEST(BrainStageTest, ALostStageDissolvesTheReplicaAndItsTasksReturnInOrder) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 3; ++worker) harness.Attach(worker);
  harness.Submit(InStages(2));
  harness.RunUntil(
      [](const SendTask& task) { return std::holds_alternative<EvaluateWork>(task.work); });
  std::vector<std::string> candidates;
  for (const SendTask& task : harness.open()) {
    if (task.last_stage) {
      candidates.push_back(Fingerprint(*std::get<EvaluateWork>(task.work).subnet));
    }
  }
  ASSERT_THAT(candidates, SizeIs(3));
  const uint64_t before = harness.open().front().epoch;
  harness.Handle(WorkerLost{.worker = 1, .reason = "gone"});
  std::erase_if(harness.open(), [](const SendTask& task) { return task.worker == 1; });
  // The survivor and the third worker hold the model now, under a new epoch.
  EXPECT_GT(harness.joins().back().epoch, before);
  EXPECT_EQ(harness.joins().back().worker, 3u);
  harness.RunUntil(
      [](const SendTask& task) { return std::holds_alternative<EvaluateWork>(task.work); });
  std::vector<std::string> again;
  for (const SendTask& task : harness.open()) {
    if (task.last_stage) again.push_back(Fingerprint(*std::get<EvaluateWork>(task.work).subnet));
  }
  EXPECT_EQ(again, candidates);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainStageTest, WithoutEnoughWorkersItWaitsAndSaysSo) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(InStages(2));
  EXPECT_THAT(harness.open(), IsEmpty());
  EXPECT_THAT(harness.Job().progress.waiting_for, HasSubstr("2 workers"));
  EXPECT_THAT(harness.Job().progress.waiting_for, HasSubstr("1 attached"));
  // One that others cannot reach does not count.
  WorkerInfo hidden = testing_fakes::Info("hidden");
  hidden.stage_address = "";
  harness.Handle(WorkerAttached{.worker = 2, .info = hidden});
  EXPECT_THAT(harness.open(), IsEmpty());
  harness.Attach(3);
  EXPECT_EQ(harness.Job().progress.waiting_for, "");
  harness.RunUntil([](const SendTask& task) {
    EXPECT_NE(task.worker, 2u);
    return false;
  });
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainStageTest, MoreStagesThanLayersAreRefused) {
  BrainHarness harness;
  harness.Submit(InStages(3));
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("2 layers"));
}

// The plan of this tiny model on a CPU is a constant of 320 MiB and little else; so less than that
// fits nowhere, and is tried in as many stages as there are workers.
TEST(BrainStageTest, WorkersWithLittleMemoryHoldTheModelTogether) {
  BrainHarness harness;
  WorkerInfo small = testing_fakes::Info("small");
  small.memory_bytes = int64_t{64} << 20;
  harness.Handle(WorkerAttached{.worker = 1, .info = small});
  harness.Handle(WorkerAttached{.worker = 2, .info = small});
  harness.Submit(TinySpec(1, "/results/1"));
  ASSERT_THAT(harness.open(), SizeIs(2));
  EXPECT_EQ(harness.open()[0].stage.count, 1);

  BrainHarness roomy;
  small.memory_bytes = int64_t{1} << 30;
  roomy.Handle(WorkerAttached{.worker = 1, .info = small});
  roomy.Handle(WorkerAttached{.worker = 2, .info = small});
  roomy.Submit(TinySpec(1, "/results/1"));
  ASSERT_THAT(roomy.open(), SizeIs(2));
  EXPECT_EQ(roomy.open()[0].stage.count, 2);
}

TEST(BrainStageTest, AnErrorOfOneStageFailsTheTaskAndCancelsTheOthers) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  const std::vector<SendTask> pair = PairOf<CalibrateWork>(harness);
  harness.FailWith(pair[1], absl::ResourceExhaustedError("no memory left"));
  EXPECT_THAT(harness.Messages(), HasSubstr("worker-2 (host-2): no memory left"));
  EXPECT_THAT(harness.open(), SizeIs(2));  // tried again
  EXPECT_GT(harness.open().front().task, pair[0].task);
}

// The one that waited in vain may answer first; the reason is the other one's.
TEST(BrainStageTest, TheRootOfAFailureIsReported) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  const std::vector<SendTask> pair = PairOf<CalibrateWork>(harness);
  harness.Messages();
  harness.FailWith(pair[1], absl::AbortedError("the other stage gave up"));
  EXPECT_EQ(harness.Messages(), "");
  harness.FailWith(pair[0], absl::InternalError("a cosmic ray"));
  EXPECT_THAT(harness.Messages(), HasSubstr("worker-1 (host-1): a cosmic ray"));
}

TEST(BrainStageTest, ALostLinkFormsTheReplicaAnewAndBlamesNoWork) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  int lost = 0;
  for (; lost < 20 && !IsFinal(harness.Job().state); ++lost) {
    const std::vector<SendTask> pair = PairOf<CalibrateWork>(harness);
    ASSERT_THAT(pair, SizeIs(2)) << harness.Messages();
    const uint64_t before = pair[0].epoch;
    harness.FailWith(pair[0], absl::UnavailableError("the link is lost"));
    if (!IsFinal(harness.Job().state)) {
      EXPECT_GT(harness.joins().back().epoch, before);
    }
  }
  // Nothing ever gets done: at some point the job says so.
  EXPECT_EQ(lost, 10);
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("worker-1: the link is lost"));
}

TEST(BrainStageTest, AStageWithOtherContentIsReplaced) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 4; ++worker) harness.Attach(worker);
  harness.Submit(InStages(2));
  // The first replica fixes the content; in the second one, stage 1 has another.
  const std::vector<SendTask> loads = harness.open();
  ASSERT_THAT(loads, SizeIs(4));
  harness.Answer(loads[0]);
  harness.Answer(loads[1]);
  harness.Answer(loads[2]);
  harness.AnswerWith(loads[3],
                     LoadResult{.digest = testing_fakes::FakeDigest("/other", loads[3].stage)});
  EXPECT_THAT(harness.Messages(), HasSubstr("cannot serve this job"));
  // A fifth worker takes its place.
  harness.Attach(5);
  EXPECT_EQ(harness.joins().back().worker, 5u);
  harness.RunUntil([&](const SendTask& task) {
    EXPECT_NE(task.worker, loads[3].worker);
    return false;
  });
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

// A replica that joins late computes the statistics before it reforms, but not the search again.
TEST(BrainStageTest, ANewReplicaCalibratesBeforeItReforms) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  harness.RunToTask<ReformWork>();
  harness.Handle(WorkerLost{.worker = 2, .reason = "gone"});
  std::erase_if(harness.open(), [](const SendTask& task) { return task.worker == 2; });
  harness.Attach(3);
  std::vector<size_t> kinds;
  harness.RunUntil([&](const SendTask& task) {
    if (task.last_stage && (kinds.empty() || kinds.back() != task.work.index())) {
      kinds.push_back(task.work.index());
    }
    return false;
  });
  ASSERT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
  EXPECT_THAT(kinds, ElementsAre(0, 1, 3, 2, 4));  // load, calibrate, reform, evaluate, export
}

TEST(BrainStageTest, WorkersAreRegroupedForTheNextJob) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 3; ++worker) harness.Attach(worker);
  harness.Submit(InStages(2, "/results/1"));
  harness.Submit(InStages(1, "/results/2"));
  std::set<WorkerKey> serving;
  harness.RunUntil([&](const SendTask& task) {
    if (task.job == 2) {
      EXPECT_EQ(task.stage.count, 2);
      serving.insert(task.worker);
    }
    return false;
  });
  EXPECT_EQ(harness.Job(1).state, JobState::kSucceeded) << harness.Job(1).error;
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded) << harness.Job(2).error;
  EXPECT_THAT(serving, SizeIs(3));
}

TEST(BrainStageTest, AnExportsFilesAreTakenFromAllStages) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(InStages(2));
  const std::vector<SendTask> pair = PairOf<ExportWork>(harness);
  ASSERT_THAT(pair, SizeIs(2));
  harness.Answer(pair[0]);
  EXPECT_TRUE(harness.brain().CheckUpload(1, pair[1].task, pair[1].epoch).ok());
  EXPECT_FALSE(harness.brain().CheckUpload(1, pair[1].task, pair[1].epoch - 1).ok());
  harness.Answer(pair[1]);
  EXPECT_FALSE(harness.brain().CheckUpload(1, pair[1].task, pair[1].epoch).ok());
}

TEST(BrainStageTest, WorkersShowTheirPlace) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 3; ++worker) harness.Attach(worker);
  harness.Submit(InStages(2));
  const std::vector<WorkerView> workers = harness.brain().Workers();
  EXPECT_EQ(workers[1].stage, 1);
  EXPECT_EQ(workers[1].stages, 2);
  EXPECT_EQ(workers[2].stages, 1);
}

}  // namespace
}  // namespace espalier
