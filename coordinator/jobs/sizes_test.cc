// Jobs with several sizes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/jobs/testing/brain_harness.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_fakes::BrainHarness;
using testing_fakes::TinyAllocationSpec;

JobSpec TwoSizes() {
  JobSpec spec = TinyAllocationSpec(1, "/results/1");
  spec.ratio = 0.8;
  spec.more_ratios = {0.7};
  return spec;
}

// Runs the job to its end and notes which tasks there were and how it finished its output.
struct Course {
  explicit Course(const JobSpec& spec) {
    harness.Attach(1);
    harness.Submit(spec);
    while (!IsFinal(harness.Job().state)) {
      for (const FinishOutput& finish : harness.Taken<FinishOutput>()) {
        outputs.push_back(finish);
        harness.Handle(OutputDone{.job = finish.job, .status = absl::OkStatus()});
      }
      if (harness.open().empty()) continue;
      const SendTask task = harness.open().front();
      tasks.push_back(task);
      harness.Advance(1);
      harness.Answer(task);
    }
  }
  template <typename W>
  int64_t Count() const {
    return std::count_if(tasks.begin(), tasks.end(),
                         [](const SendTask& task) { return std::holds_alternative<W>(task.work); });
  }

  BrainHarness harness;
  std::vector<SendTask> tasks;
  std::vector<FinishOutput> outputs;
};

TEST(SizesTest, EachHasAResultOfItsOwn) {
  const Course course(TwoSizes());
  const JobView job = course.harness.Job();
  ASSERT_EQ(job.state, JobState::kSucceeded) << job.error;
  ASSERT_EQ(job.results.size(), 2);
  EXPECT_EQ(job.results[0]->output, "/results/1/0.8");
  EXPECT_EQ(job.results[1]->output, "/results/1/0.7");
  EXPECT_LE(job.results[0]->reformed.ratio, 0.8);
  EXPECT_GE(job.results[0]->reformed.ratio, 0.7);
  EXPECT_LE(job.results[1]->reformed.ratio, 0.7);
  EXPECT_EQ(job.results[0]->dense.perplexity, job.results[1]->dense.perplexity);
  EXPECT_EQ(job.progress.size, 2);
  EXPECT_EQ(job.progress.sizes, 2);

  ASSERT_EQ(course.outputs.size(), 2);
  EXPECT_EQ(course.outputs[0].part, "0.8");
  EXPECT_EQ(course.outputs[1].part, "0.7");
  std::vector<std::string> names;
  for (const FinishOutput::File& file : course.outputs[1].summary) names.push_back(file.name);
  EXPECT_THAT(names, ElementsAre("job.yaml", "sizes.csv", "sizes.svg"));
  // The whole job can be repeated, and each size alone.
  EXPECT_THAT(course.outputs[1].summary.front().contents, HasSubstr("ratio: [0.8, 0.7]"));
  EXPECT_THAT(course.outputs[1].files.front().contents, HasSubstr("ratio: 0.7"));
}

TEST(SizesTest, CalibrationSensitivitiesAndTheDenseModelAreSharedAmongThem) {
  const Course course(TwoSizes());
  EXPECT_EQ(course.Count<CalibrateWork>(), 1);
  EXPECT_EQ(course.Count<ReformWork>(), 2);
  std::multiset<int64_t> dense;  // sequences of the held-out text on the dense model
  std::map<std::string, int> candidates;
  for (const SendTask& task : course.tasks) {
    const auto* work = std::get_if<EvaluateWork>(&task.work);
    if (work == nullptr) continue;
    if (work->subnet == nullptr && work->data_set == "eval") dense.insert(work->first);
    if (work->divergence) {
      ++candidates[Fingerprint(*work->subnet) + "@" + std::to_string(work->first) + "+" +
                   std::to_string(work->count)];
    }
  }
  EXPECT_FALSE(dense.empty());
  EXPECT_GT(candidates.size(), 10u);
  for (const int64_t first : dense) EXPECT_EQ(dense.count(first), 1);
  for (const auto& [name, times] : candidates) EXPECT_EQ(times, 1) << name;
}

// The result of a size does not depend on the others.
TEST(SizesTest, ASizeIsWhatItIsAlone) {
  const Course both(TwoSizes());
  JobSpec alone = TwoSizes();
  alone.ratio = 0.7;
  alone.more_ratios.clear();
  const absl::StatusOr<JobSpec> resolved = ResolveDefaults(alone, testing_fakes::TinyConfig());
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  const Course one(*resolved);
  ASSERT_EQ(one.outputs.size(), 1);
  EXPECT_EQ(both.outputs[1].files.back().contents, one.outputs[0].files.back().contents);
}

TEST(SizesTest, ASizeThatIsFinishedIsSaidAtOnceAndStays) {
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(TwoSizes());
  harness.RunUntil([&](const SendTask&) { return harness.Job().progress.size == 2; });
  const JobView job = harness.Job();
  EXPECT_EQ(job.state, JobState::kRunning);
  ASSERT_EQ(job.results.size(), 1);
  std::vector<size_t> results;
  for (const PublishEvent& event : harness.Taken<PublishEvent>()) {
    if (!event.results.empty()) results.push_back(event.results.size());
  }
  EXPECT_THAT(results, ElementsAre(1));
  ASSERT_TRUE(harness.brain().Cancel(1, "enough", harness.now(), harness.actions()).ok());
  EXPECT_EQ(harness.Job().state, JobState::kCancelled);
  EXPECT_EQ(harness.Job().results.size(), 1);
}

TEST(SizesTest, ASizeThatCannotBeReachedIsRefusedBeforeAnythingRuns) {
  JobSpec spec = TwoSizes();
  spec.more_ratios = {0.01};
  BrainHarness harness;
  harness.Attach(1);
  harness.Submit(spec);
  EXPECT_EQ(harness.Job().state, JobState::kFailed);
  EXPECT_THAT(harness.Job().error, HasSubstr("target.ratio is 0.01"));
}

}  // namespace
}  // namespace espalier
