// The same job on one worker, on several that each hold the model, on several that hold it
// together, and on several such replicas: the same population log, the same subnet, the same
// weights, byte for byte. Real engine, real streams between the stages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "client/testing/results.h"
#include "tests/testing/cluster.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

// Files by name.
std::map<std::string, std::string> RunOn(int workers, int64_t stages,
                                         const std::filesystem::path& output, Precision precision,
                                         SearchMethod method) {
  const TestCluster cluster;
  std::vector<std::unique_ptr<Worker>> attached;
  for (int i = 0; i < workers; ++i) attached.push_back(cluster.AddWorker(Engine::Load));
  cluster.WaitForWorkers(workers);
  JobSpec spec = OrchardJob(output);
  spec.stages = stages;
  spec.precision = precision;
  spec.method = method;
  const v1::Job job = cluster.Run(spec);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.error();
  return ReadResult(output);
}

class TopologyTest : public ::testing::TestWithParam<std::tuple<Precision, SearchMethod>> {};

TEST_P(TopologyTest, TheResultDoesNotDependOnIt) {
  const std::filesystem::path folder = FreshFolder();
  const auto [precision, method] = GetParam();
  const auto expected = RunOn(1, 1, folder / "one", precision, method);
  ASSERT_GT(expected.size(), 5u);
  struct Topology {
    int workers;
    int64_t stages;
  };
  for (const Topology topology : {Topology{2, 2}, Topology{4, 2}, Topology{3, 3}}) {
    SCOPED_TRACE(topology.workers);
    const auto actual =
        RunOn(topology.workers, topology.stages,
              folder / (std::to_string(topology.workers) + "-" + std::to_string(topology.stages)),
              precision, method);
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [name, contents] : expected) {
      const auto found = actual.find(name);
      ASSERT_NE(found, actual.end()) << name;
      EXPECT_TRUE(found->second == contents) << name << " differs";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, TopologyTest,
    ::testing::Combine(::testing::Values(Precision::kFloat32, Precision::kBFloat16),
                       ::testing::Values(SearchMethod::kPaper, SearchMethod::kEspalier)));

// FLAP has biases beside its subnet; the others are the same path without.
INSTANTIATE_TEST_SUITE_P(Baselines, TopologyTest,
                         ::testing::Combine(::testing::Values(Precision::kFloat32),
                                            ::testing::Values(SearchMethod::kFlap,
                                                              SearchMethod::kWandaSp)));

class TopologyFaultTest : public ::testing::TestWithParam<SearchMethod> {};

// A stage is taken away in the middle of the search, and another one comes.
TEST_P(TopologyFaultTest, AStageThatLeavesChangesNothing) {
  const std::filesystem::path folder = FreshFolder();
  const auto expected = RunOn(1, 1, folder / "one", Precision::kFloat32, GetParam());
  const TestCluster cluster;
  std::unique_ptr<Worker> first = cluster.AddWorker(Engine::Load);
  const std::unique_ptr<Worker> second = cluster.AddWorker(Engine::Load);
  JobSpec spec = OrchardJob(folder / "disturbed");
  spec.stages = 2;
  spec.method = GetParam();
  const std::string job = cluster.Submit(spec);
  ASSERT_TRUE(cluster.WaitForPhase(job, v1::JOB_PHASE_SEARCH));
  first.reset();
  const std::unique_ptr<Worker> third = cluster.AddWorker(Engine::Load);
  const v1::Job ended = cluster.WaitForEnd(job);
  ASSERT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
  auto files = ReadResult(spec.output);
  for (const char* name : {"population.jsonl", "subnet.json", "compact/model.safetensors"}) {
    EXPECT_TRUE(files[name] == expected.at(name)) << name << " differs";
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, TopologyFaultTest,
                         ::testing::Values(SearchMethod::kPaper, SearchMethod::kEspalier));

TEST(StagesTest, MoreStagesThanLayersAreRefused) {
  const TestCluster cluster;
  JobSpec spec = OrchardJob(FreshFolder() / "result");
  spec.stages = 1000;
  const v1::Job job = cluster.Run(spec);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job.error(), HasSubstr("stages: 1000 for a model of"));
}

}  // namespace
}  // namespace espalier
