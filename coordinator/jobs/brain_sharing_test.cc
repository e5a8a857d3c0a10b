// Several jobs: shares, priorities, known answers; and what clients ask for beside submitting.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "coordinator/jobs/testing/brain_harness.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing_fakes::BrainHarness;
using testing_fakes::TinySpec;

JobSpec Spec(uint64_t seed, const std::string& model = "/models/tiny", int64_t priority = 0) {
  JobSpec spec = TinySpec(seed, "/results/" + std::to_string(seed));
  spec.model = model;
  spec.priority = priority;
  return spec;
}

bool IsCandidate(const SendTask& task) {
  const auto* evaluate = std::get_if<EvaluateWork>(&task.work);
  return evaluate != nullptr && evaluate->data_set == "search" && evaluate->subnet != nullptr;
}

// Answers the oldest task until `enough`, and says for which job each was.
template <typename Enough>
std::vector<JobId> AnswerUntil(BrainHarness& harness, const Enough& enough) {
  std::vector<JobId> jobs;
  while (!harness.open().empty() && !enough()) {
    jobs.push_back(harness.open().front().job);
    harness.Advance(1);
    harness.Answer(harness.open().front());
  }
  return jobs;
}

bool Searches(const BrainHarness& harness, JobId job) {
  return harness.Job(job).progress.phase == JobPhase::kSearch;
}
bool Before(const BrainHarness& harness, JobId job) {
  return harness.Job(job).progress.phase < JobPhase::kSearch;
}

// ---- Shares ----

TEST(BrainSharingTest, JobsOfOneModelShareItsWorkersTime) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  harness.Submit(Spec(2));
  const std::vector<JobId> jobs =
      AnswerUntil(harness, [&] { return !Searches(harness, 1) && !Before(harness, 1); });
  int64_t ahead = 0;
  for (const JobId job : jobs) {
    ahead += job == 1 ? 1 : -1;
    EXPECT_LE(std::abs(ahead), 3);
  }
  EXPECT_GE(std::count(jobs.begin(), jobs.end(), 2u), 20);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job(1).state, JobState::kSucceeded) << harness.Job(1).error;
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded) << harness.Job(2).error;
}

TEST(BrainSharingTest, ALaterJobMakesNothingUp) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  int answered = 0;
  AnswerUntil(harness, [&] { return answered++ == 12; });
  ASSERT_TRUE(Searches(harness, 1));
  harness.Submit(Spec(2));
  // While the first one does the rest, the second one does about as much.
  const std::vector<JobId> jobs = AnswerUntil(harness, [&] { return !Searches(harness, 1); });
  const auto first = std::count(jobs.begin(), jobs.end(), 1u);
  const auto second = std::count(jobs.begin(), jobs.end(), 2u);
  EXPECT_GE(first, 10);
  EXPECT_NEAR(static_cast<double>(first), static_cast<double>(second), 3);
}

// Also beside one that was taken up from its journal.
TEST(BrainSharingTest, ALaterJobMakesNothingUpAfterARestart) {
  BrainHarness before;
  before.Attach(1);
  before.Submit(Spec(1));
  AnswerUntil(before, [&] { return Searches(before, 1); });
  StoredJob stored;
  stored.id = 1;
  stored.spec = Spec(1);
  stored.state = JobState::kRunning;
  for (const RecordFact& record : before.Taken<RecordFact>()) {
    stored.journal.push_back(record.entry);
  }
  ASSERT_THAT(stored.journal, Not(IsEmpty()));

  BrainHarness harness;
  harness.brain().Restore(stored, 0, harness.actions());
  harness.GoOn();
  harness.Attach(1);
  int answered = 0;
  AnswerUntil(harness, [&] { return answered++ == 8; });
  ASSERT_TRUE(Searches(harness, 1));
  harness.Submit(Spec(2));
  const std::vector<JobId> jobs = AnswerUntil(harness, [&] { return !Searches(harness, 1); });
  const auto first = std::count(jobs.begin(), jobs.end(), 1u);
  const auto second = std::count(jobs.begin(), jobs.end(), 2u);
  EXPECT_GE(first, 5);
  EXPECT_NEAR(static_cast<double>(first), static_cast<double>(second), 3);
}

// It competes with those of its kind and priority, not with one that was never served.
TEST(BrainSharingTest, ALaterJobMakesNothingUpBesideOthersThatWait) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1, "/models/tiny", /*priority=*/5));
  harness.Submit(Spec(2, "/models/other"));  // waits, without having had anything
  int answered = 0;
  AnswerUntil(harness, [&] { return answered++ == 12; });
  ASSERT_TRUE(Searches(harness, 1));
  harness.Submit(Spec(3, "/models/tiny", /*priority=*/5));
  const std::vector<JobId> jobs = AnswerUntil(harness, [&] { return !Searches(harness, 1); });
  const auto first = std::count(jobs.begin(), jobs.end(), 1u);
  const auto third = std::count(jobs.begin(), jobs.end(), 3u);
  EXPECT_GE(first, 10);
  EXPECT_NEAR(static_cast<double>(first), static_cast<double>(third), 3);
}

TEST(BrainSharingTest, JobsOfOtherModelsShareTheWorkers) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 4; ++worker) harness.Attach(worker);
  harness.Submit(Spec(1));
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  harness.Submit(Spec(2, "/models/other"));
  AnswerUntil(harness, [&] { return Searches(harness, 2); });
  ASSERT_TRUE(Searches(harness, 1));
  std::map<JobId, std::set<WorkerKey>> workers;
  for (const SendTask& task : harness.open()) workers[task.job].insert(task.worker);
  EXPECT_THAT(workers[1], SizeIs(2));
  EXPECT_THAT(workers[2], SizeIs(2));
  harness.RunToEnd();
  EXPECT_EQ(harness.Job(1).state, JobState::kSucceeded);
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded);
}

TEST(BrainSharingTest, ASingleWorkerKeepsTheOldestJobsModel) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  harness.Submit(Spec(2, "/models/other"));
  EXPECT_EQ(harness.Job(2).state, JobState::kQueued);
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  EXPECT_THAT(harness.Job(2).progress.waiting_for, HasSubstr("busy with job-1"));
  harness.RunUntil([&](const SendTask& task) {
    EXPECT_TRUE(task.job == 1 || IsFinal(harness.Job(1).state) ||
                harness.Job(1).progress.phase == JobPhase::kExport);
    return false;
  });
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded);
}

// A worker keeps the statistics of one text: two such jobs would take them from each other.
TEST(BrainSharingTest, ASingleWorkerKeepsTheOldestJobsStatistics) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  JobSpec other = testing_fakes::TinyAllocationSpec(2, "/results/2");
  other.text.path = "/texts/other.txt";
  harness.Submit(other);
  int calibrations = 0;
  TaskId last = 0;
  harness.RunUntil([&](const SendTask& task) {
    if (task.task > last && std::holds_alternative<CalibrateWork>(task.work)) {
      ++calibrations;
      last = task.task;
    }
    return calibrations > 2;
  });
  EXPECT_EQ(calibrations, 2);
  EXPECT_EQ(harness.Job(1).state, JobState::kSucceeded) << harness.Job(1).error;
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded) << harness.Job(2).error;
}

TEST(BrainSharingTest, AtTheEndOfAJobItsIdleWorkersServeOthers) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 3; ++worker) harness.Attach(worker);
  harness.Submit(Spec(1, "/models/tiny", /*priority=*/1));
  harness.Submit(Spec(2, "/models/other"));
  const SendTask reform = harness.RunToTask<ReformWork>();
  EXPECT_EQ(reform.job, 1u);
  std::set<WorkerKey> loading;
  for (const SendTask& task : harness.open()) {
    if (task.job == 2) loading.insert(task.worker);
  }
  EXPECT_THAT(loading, SizeIs(2));
  EXPECT_EQ(loading.count(reform.worker), 0u);
}

// ---- Priorities ----

TEST(BrainSharingTest, AHigherPriorityTakesTheWorkersAsTheyBecomeFree) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(Spec(1));
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  harness.Submit(Spec(2, "/models/other", /*priority=*/5));
  // What they have in hand is finished.
  const size_t in_hand = harness.open().size();
  const std::vector<JobId> jobs =
      AnswerUntil(harness, [&] { return harness.Job(2).progress.phase > JobPhase::kSearch; });
  EXPECT_LE(static_cast<size_t>(std::count(jobs.begin(), jobs.end(), 1u)), in_hand);
  EXPECT_GE(std::count(jobs.begin(), jobs.end(), 2u), 21);
  harness.RunToEnd();
  EXPECT_EQ(harness.Job(1).state, JobState::kSucceeded) << harness.Job(1).error;
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded) << harness.Job(2).error;
}

TEST(BrainSharingTest, OfOneModelTheHigherPriorityComesFirst) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  harness.Submit(Spec(2, "/models/tiny", /*priority=*/1));
  const std::vector<JobId> jobs =
      AnswerUntil(harness, [&] { return harness.Job(2).progress.phase > JobPhase::kSearch; });
  // It fills the gaps: the window's two tasks, and what fits beside the other's loading,
  // calibration and the ends of its three generations.
  EXPECT_LE(std::count(jobs.begin(), jobs.end(), 1u), 2 + 2 + 3);
  EXPECT_GE(std::count(jobs.begin(), jobs.end(), 2u), 21);
}

TEST(BrainSharingTest, TheResultDoesNotDependOnCompany) {
  BrainHarness alone;
  alone.Attach(1);
  alone.Submit(Spec(1));
  alone.RunToEnd();
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(Spec(1));
  harness.Submit(Spec(2, "/models/other", 1));
  harness.Submit(Spec(3));
  harness.RunToEnd();
  EXPECT_EQ(harness.Population(1), alone.Population(1));
  EXPECT_EQ(harness.Job(1).results.front()->reformed.perplexity,
            alone.Job(1).results.front()->reformed.perplexity);
}

// ---- Known answers ----

TEST(BrainSharingTest, ASecondJobEvaluatesNoCandidateAgain) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  harness.RunToEnd();
  harness.Messages();
  JobSpec again = Spec(1);
  again.output = "/results/again";
  again.reformation.damping = 0.5;  // matters only after the search
  harness.Submit(again);
  harness.RunUntil([&](const SendTask& task) {
    EXPECT_FALSE(IsCandidate(task) && harness.Job(2).progress.phase <= JobPhase::kSearch);
    return false;
  });
  ASSERT_EQ(harness.Job(2).state, JobState::kSucceeded) << harness.Job(2).error;
  EXPECT_EQ(harness.Population(2), harness.Population(1));
  EXPECT_THAT(harness.Messages(), HasSubstr("not evaluated again"));
}

TEST(BrainSharingTest, AnswersOfOtherModelsTextsAndPrecisionsAreNotKnown) {
  for (const int change : {0, 1}) {
    BrainHarness harness;
    harness.Attach(1);
    harness.Submit(Spec(1));
    harness.RunToEnd();
    JobSpec other = Spec(1);
    other.output = "/results/other";
    if (change == 0) other.model = "/models/other";
    if (change == 1) other.precision = Precision::kBFloat16;
    harness.Submit(other);
    int64_t candidates = 0;
    TaskId last = 0;
    harness.RunUntil([&](const SendTask& task) {
      if (IsCandidate(task) && task.task > last &&
          harness.Job(2).progress.phase <= JobPhase::kSearch) {
        ++candidates;
        last = task.task;
      }
      return false;
    });
    EXPECT_EQ(candidates, 21) << change;
  }
  const DataSetInfo text{.hash = "a", .sequence_length = 8, .count = 2};
  const DataSetInfo longer{.hash = "a", .sequence_length = 8, .count = 3};
  const ModelRef model{.path = "/m", .hash = "h"};
  EXPECT_NE(AnswerContext(model, text, "", "1"), AnswerContext(model, longer, "", "1"));
  EXPECT_NE(AnswerContext(model, text, "", "1"), AnswerContext(model, text, "", "2"));
  EXPECT_NE(AnswerContext(model, text, "", "1"), AnswerContext(model, text, "repaired", "1"));
}

TEST(BrainSharingTest, AStoredAnswerOfTheWrongFormIsNotUsed) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  harness.RunToTask<CalibrateWork>();
  const PreparedJob prepared = testing_fakes::Prepared(Spec(1));
  const std::string hash = HashOf(testing_fakes::FakeDigest("/models/tiny", {0, 2}));
  AnswersRecalled recalled;
  recalled.context = AnswerContext({.path = "/models/tiny", .hash = hash}, prepared.search, "",
                                   testing_fakes::kTestVersion);
  const SendTask task = [&] {
    BrainHarness other;
    other.Attach(1);
    other.Submit(Spec(1));
    return other.RunToTask<EvaluateWork>();
  }();
  const std::string subnet = Fingerprint(*std::get<EvaluateWork>(task.work).subnet);
  recalled.answers = {{subnet, EvaluateResult{.nll_sums = {1}, .predictions_per_sequence = 7}}};
  harness.Handle(recalled);
  const SendTask first = harness.RunToTask<EvaluateWork>();
  EXPECT_EQ(Fingerprint(*std::get<EvaluateWork>(first.work).subnet), subnet);
}

// ---- Pausing ----

TEST(BrainSharingTest, APausedJobFinishesWhatItHasAndGetsNoMore) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  ASSERT_TRUE(harness.brain().Pause(1, harness.now(), harness.actions()).ok());
  harness.Collect();
  EXPECT_EQ(harness.Job().state, JobState::kPaused);
  const size_t in_hand = harness.open().size();
  EXPECT_THAT(AnswerUntil(harness, [] { return false; }), SizeIs(in_hand));
  EXPECT_EQ(harness.Job().state, JobState::kPaused);
  EXPECT_THAT(harness.Job().progress.waiting_for, HasSubstr("resume"));
  // Others have the workers meanwhile.
  harness.Submit(Spec(2, "/models/other"));
  harness.RunToEnd();
  EXPECT_EQ(harness.Job(2).state, JobState::kSucceeded);
  ASSERT_TRUE(harness.brain().Resume(1, harness.now(), harness.actions()).ok());
  harness.Collect();
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
  EXPECT_THAT(harness.Messages(), HasSubstr("paused\n"));
}

TEST(BrainSharingTest, AJobStaysPausedWhenTheCoordinatorIsStartedAgain) {
  BrainHarness harness;
  harness.Attach(1);
  StoredJob stored;
  stored.id = 1;
  stored.spec = Spec(1);
  stored.state = JobState::kPaused;
  stored.last_event = 7;
  harness.brain().Restore(stored, 0, harness.actions());
  harness.Collect();
  EXPECT_EQ(harness.Job().state, JobState::kPaused);
  EXPECT_THAT(harness.open(), IsEmpty());
  ASSERT_TRUE(harness.brain().Resume(1, harness.now(), harness.actions()).ok());
  harness.Collect();
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainSharingTest, WhatHasEndedCannotBePausedOrResumed) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(Spec(1));
  harness.RunToEnd();
  const absl::Status paused = harness.brain().Pause(1, 0, harness.actions());
  EXPECT_EQ(paused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(paused.message()), HasSubstr("job-1 has ended"));
  EXPECT_EQ(harness.brain().Resume(9, 0, harness.actions()).code(), absl::StatusCode::kNotFound);
}

// ---- Many jobs ----

TEST(BrainSharingTest, OfManyJobsTheUnfinishedAndTheNewestAreListed) {
  BrainHarness harness;
  Actions actions;
  for (const JobId id : {1, 2, 3, 4, 5, 6}) {
    EXPECT_EQ(*harness.brain().Submit(Spec(id), absl::StrCat("key-", id), 0, &actions), id);
  }
  for (const JobId id : {2, 3, 4}) {
    EXPECT_TRUE(harness.brain().Cancel(id, "enough", harness.now(), harness.actions()).ok());
  }
  const auto listed = [&](size_t most) {
    std::vector<JobId> ids;
    for (const JobView& view : harness.brain().Jobs(most)) ids.push_back(view.id);
    return ids;
  };
  EXPECT_THAT(listed(100), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(listed(5), ElementsAre(1, 3, 4, 5, 6));
  EXPECT_THAT(listed(2), ElementsAre(1, 5, 6));
  const auto count = [&](JobState state) {
    const JobCounts counts = harness.brain().CountJobs();
    const auto found = counts.find(state);
    return found == counts.end() ? 0 : found->second;
  };
  EXPECT_EQ(count(JobState::kCancelled), 3);
  EXPECT_EQ(count(JobState::kQueued) + count(JobState::kRunning), 3);
  ASSERT_TRUE(harness.brain().Delete(3, harness.actions()).ok());
  EXPECT_EQ(count(JobState::kCancelled), 2);
  EXPECT_THAT(listed(5), ElementsAre(1, 2, 4, 5, 6));
}

// ---- Deleting ----

TEST(BrainSharingTest, OnlyWhatHasEndedIsDeleted) {
  BrainHarness harness;
  harness.Attach(1);
  Actions actions;
  const JobId id = *harness.brain().Submit(Spec(1), "key", 0, harness.actions());
  harness.Collect();
  const absl::Status running = harness.brain().Delete(id, harness.actions());
  EXPECT_EQ(running.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(running.message()), HasSubstr("cancel it first"));
  harness.RunToEnd();
  ASSERT_TRUE(harness.brain().Delete(id, harness.actions()).ok());
  EXPECT_THAT(harness.Taken<ForgetJob>(), SizeIs(1));
  EXPECT_THAT(harness.brain().Jobs(), IsEmpty());
  EXPECT_EQ(harness.brain().Delete(id, harness.actions()).code(), absl::StatusCode::kNotFound);
  // Its number and its key are not those of another job.
  EXPECT_EQ(harness.brain().FindSubmission("key"), std::nullopt);
  EXPECT_EQ(harness.Submit(Spec(2)), id + 1);
}

// ---- Draining ----

TEST(BrainSharingTest, ADrainedWorkerFinishesWhatItHasAndIsDismissed) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(Spec(1));
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  ASSERT_TRUE(harness.brain().Drain(1, harness.now(), harness.actions()).ok());
  harness.Collect();
  EXPECT_THAT(harness.Taken<DismissWorker>(), IsEmpty());
  EXPECT_TRUE(harness.brain().Workers()[0].draining);
  std::vector<SendTask> in_hand;
  for (const SendTask& task : harness.open()) {
    if (task.worker == 1) in_hand.push_back(task);
  }
  ASSERT_THAT(in_hand, Not(IsEmpty()));
  for (const SendTask& task : in_hand) harness.Answer(task);
  const std::vector<DismissWorker> dismissed = harness.Taken<DismissWorker>();
  ASSERT_THAT(dismissed, SizeIs(1));
  EXPECT_EQ(dismissed.front().worker, 1u);
  EXPECT_THAT(harness.brain().Workers(), SizeIs(1));
  EXPECT_THAT(harness.Messages(), HasSubstr("it was drained"));
  harness.RunToEnd();
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

TEST(BrainSharingTest, AnIdleWorkerIsDismissedAtOnceAndAJobWaitsForAnother) {
  BrainHarness harness;
  harness.Attach(1);
  ASSERT_TRUE(harness.brain().Drain(1, 0, harness.actions()).ok());
  EXPECT_THAT(harness.Taken<DismissWorker>(), SizeIs(1));
  EXPECT_EQ(harness.brain().Drain(1, 0, harness.actions()).code(), absl::StatusCode::kNotFound);
  harness.Submit(Spec(1));
  EXPECT_EQ(harness.Job().progress.waiting_for, "a worker to attach");
}

TEST(BrainSharingTest, TheOtherStagesOfADrainedWorkerServeWithAThird) {
  BrainHarness harness;
  for (WorkerKey worker = 1; worker <= 3; ++worker) harness.Attach(worker);
  JobSpec spec = Spec(1);
  spec.stages = 2;
  harness.Submit(spec);
  AnswerUntil(harness, [&] { return Searches(harness, 1); });
  ASSERT_TRUE(harness.brain().Drain(1, harness.now(), harness.actions()).ok());
  harness.Collect();
  harness.RunToEnd();
  EXPECT_THAT(harness.Taken<DismissWorker>(), SizeIs(1));
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
}

// Repaired candidates need the statistics: both replicas make them, once. The reformed weights take
// minutes: only one makes those, and measures and exports them.
TEST(BrainSharingTest, AnAllocationUsesAllReplicasAndReformsOnOne) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Attach(2);
  harness.Submit(testing_fakes::TinyAllocationSpec(1, "/results/1"));
  std::map<WorkerKey, std::set<TaskId>> calibrations;
  std::map<WorkerKey, std::set<TaskId>> candidates;
  std::set<WorkerKey> reformers;
  harness.RunUntil([&](const SendTask& task) {
    if (std::holds_alternative<CalibrateWork>(task.work)) {
      calibrations[task.worker].insert(task.task);
    }
    const auto* evaluate = std::get_if<EvaluateWork>(&task.work);
    if (evaluate != nullptr && evaluate->divergence) {
      candidates[task.worker].insert(task.task);
    }
    const bool progressive =
        evaluate != nullptr && evaluate->reformation.method == ReformationMethod::kProgressive;
    if (progressive || std::holds_alternative<ReformWork>(task.work) ||
        std::holds_alternative<ExportWork>(task.work)) {
      reformers.insert(task.worker);
    }
    return false;
  });
  EXPECT_EQ(harness.Job().state, JobState::kSucceeded) << harness.Job().error;
  EXPECT_EQ(calibrations[1].size(), 1);
  EXPECT_EQ(calibrations[2].size(), 1);
  EXPECT_GT(candidates[1].size(), 5);
  EXPECT_GT(candidates[2].size(), 5);
  EXPECT_EQ(reformers.size(), 1);
}

}  // namespace
}  // namespace espalier
