// Jobs through the real service path: a coordinator and workers that speak gRPC, with a fake engine
// where only the way matters and with the real one where its numbers do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/testing/results.h"
#include "common/model_folder.h"
#include "common/subnet.h"
#include "tests/testing/cluster.h"
#include "worker/engine/engine.h"
#include "worker/service/testing/fake_engine.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

// The result of `spec` on a cluster of `workers` with engines of `loader`.
std::map<std::string, std::string> RunOn(int workers, const EngineLoader& loader,
                                         const JobSpec& spec) {
  const TestCluster cluster;
  std::vector<std::unique_ptr<Worker>> attached;
  for (int i = 0; i < workers; ++i) attached.push_back(cluster.AddWorker(loader));
  cluster.WaitForWorkers(workers);
  const v1::Job job = cluster.Run(spec);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.error();
  return ReadResult(spec.output);
}

EngineLoader Fake(const std::shared_ptr<FakeEngineControl>& control) {
  return FakeEngineLoader(control);
}
EngineLoader Fake() { return Fake(std::make_shared<FakeEngineControl>()); }

TEST(ServicePathTest, AnyNumberOfWorkersGivesTheSameResult) {
  const std::filesystem::path folder = FreshFolder();
  const auto one = RunOn(1, Fake(), OrchardJob(folder / "one"));
  const auto three = RunOn(3, Fake(), OrchardJob(folder / "three"));
  ExpectSameFiles(one, three);
  EXPECT_THAT(FileNames(one),
              IsSupersetOf({"population.jsonl", "subnet.json", "compact/model.safetensors",
                            "compact/config.json", "compact/tokenizer.json",
                            "padded/model.safetensors", "padded/config.json"}));
}

TEST(ServicePathTest, AnyNumberOfWorkersGivesTheSameResultOfTheRealEngine) {
  const std::filesystem::path folder = FreshFolder();
  const auto one = RunOn(1, Engine::Load, OrchardJob(folder / "one"));
  const auto three = RunOn(3, Engine::Load, OrchardJob(folder / "three"));
  ExpectSameFiles(one, three);

  // The export is the subnet that was found, at the ratio that was asked for.
  const auto compact = OpenModelFolder(folder / "one/compact");
  ASSERT_TRUE(compact.ok()) << compact.status();
  const auto subnet = ReadSubnet(folder / "one/subnet.json", compact->config);
  ASSERT_TRUE(subnet.ok()) << subnet.status();
  EXPECT_EQ(compact->masks, *subnet);
  EXPECT_LE(ParameterRatio(*subnet, compact->config), 0.7);
  EXPECT_GE(ParameterRatio(*subnet, compact->config), 0.68);
}

// 32 candidates; both workers hold one when the first is taken away.
TEST(ServicePathTest, WorkerThatLeavesInTheSearchChangesNothing) {
  const std::filesystem::path folder = FreshFolder();
  const auto undisturbed = RunOn(1, Fake(), OrchardJob(folder / "undisturbed"));

  const TestCluster cluster;
  const auto leaving = std::make_shared<FakeEngineControl>();
  const auto staying = std::make_shared<FakeEngineControl>();
  leaving->BlockAfter(3);
  staying->BlockAfter(3);
  std::unique_ptr<Worker> first = cluster.AddWorker(Fake(leaving));
  const std::unique_ptr<Worker> second = cluster.AddWorker(Fake(staying));
  cluster.WaitForWorkers(2);
  const JobSpec spec = OrchardJob(folder / "disturbed");
  const std::string job = cluster.Submit(spec);
  ASSERT_TRUE(leaving->WaitUntilBlocked());
  ASSERT_TRUE(staying->WaitUntilBlocked());
  first.reset();
  staying->Release();
  const v1::Job ended = cluster.WaitForEnd(job);
  ASSERT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
  ExpectSameFiles(undisturbed, ReadResult(spec.output));
}

TEST(ServicePathTest, WorkersMayComeAfterTheJob) {
  const std::filesystem::path folder = FreshFolder();
  const TestCluster cluster;
  const std::string job = cluster.Submit(OrchardJob(folder / "result"));
  const std::unique_ptr<Worker> worker = cluster.AddWorker(Fake());
  const v1::Job ended = cluster.WaitForEnd(job);
  EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
}

TEST(ServicePathTest, CancelledJobLeavesNothingAndTheNextOneRuns) {
  const std::filesystem::path folder = FreshFolder();
  const TestCluster cluster;
  const auto control = std::make_shared<FakeEngineControl>();
  control->BlockAfter(5);
  const std::unique_ptr<Worker> worker = cluster.AddWorker(Fake(control));
  std::filesystem::create_directories(folder / "cancelled");
  const std::string job = cluster.Submit(OrchardJob(folder / "cancelled/result"));
  ASSERT_TRUE(control->WaitUntilBlocked());
  cluster.Cancel(job);
  EXPECT_EQ(cluster.WaitForEnd(job).state(), v1::JOB_STATE_CANCELLED);

  control->Release();
  const v1::Job next = cluster.Run(OrchardJob(folder / "next"));
  EXPECT_EQ(next.state(), v1::JOB_STATE_SUCCEEDED) << next.error();
  WaitUntilEmpty(folder / "cancelled");
}

TEST(ServicePathTest, JobsOneAfterTheOtherOnTheSameWorkers) {
  const std::filesystem::path folder = FreshFolder();
  const TestCluster cluster;
  const auto control = std::make_shared<FakeEngineControl>();
  const std::unique_ptr<Worker> worker = cluster.AddWorker(Fake(control));
  JobSpec other = OrchardJob(folder / "other");
  other.ratio = 0.8;
  const std::string first = cluster.Submit(OrchardJob(folder / "first"));
  const std::string second = cluster.Submit(other);
  const std::string third = cluster.Submit(OrchardJob(folder / "third"));
  for (const std::string& job : {first, second, third}) {
    const v1::Job ended = cluster.WaitForEnd(job);
    EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
  }
  ExpectSameFiles(ReadResult(folder / "first"), ReadResult(folder / "third"));
  EXPECT_EQ(control->counts().loads, 1);  // the model stayed resident
}

// Which the coordinator, that reads the configuration and the tokenizer only, cannot see.
TEST(ServicePathTest, ModelWithoutWeightsFailsTheJobWithItsName) {
  const std::filesystem::path folder = FreshFolder();
  const TestCluster cluster;
  const std::unique_ptr<Worker> worker = cluster.AddWorker(Fake());
  std::filesystem::create_directories(folder / "failed");
  JobSpec spec = OrchardJob(folder / "failed/result");
  const std::filesystem::path model = folder / "no-weights";
  std::filesystem::create_directories(model);
  for (const char* file : {"config.json", "tokenizer.json"}) {
    std::filesystem::copy_file(std::filesystem::path(spec.model) / file, model / file);
  }
  spec.model = model.string();
  const v1::Job job = cluster.Run(spec);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job.error(), HasSubstr("no-weights has no weights"));
  WaitUntilEmpty(folder / "failed");
}

}  // namespace
}  // namespace espalier
