#include "client/local_cluster.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "client/follow.h"
#include "client/job_client.h"
#include "client/testing/small_model.h"
#include "common/job_spec.h"
#include "gtest/gtest.h"
#include "worker/service/testing/fake_engine.h"

namespace espalier {
namespace {

TEST(PrivateDirectoryTest, NobodyElseMayEnterAndItGoesAway) {
  auto directory = PrivateDirectory::Create();
  ASSERT_TRUE(directory.ok()) << directory.status();
  const std::filesystem::path path = (*directory)->path();
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700);
  WriteTestFile(path / "socket", "");
  directory->reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ThreadsPerWorkerTest, DividesTheCores) {
  EXPECT_EQ(ThreadsPerWorker(8, 1), 8);
  EXPECT_EQ(ThreadsPerWorker(8, 3), 2);
  EXPECT_EQ(ThreadsPerWorker(2, 4), 1);
  EXPECT_EQ(ThreadsPerWorker(0, 1), 1);
}

TEST(LocalClusterTest, WorkersAttachToTheirCoordinatorAndRunAJob) {
  const std::filesystem::path folder = NewTestFolder("local_cluster");
  WriteSmallModel(folder / "model");
  WriteTestFile(folder / "text.txt", SomeText(5000));
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.model = (folder / "model").string();
  spec.text.path = (folder / "text.txt").string();
  spec.output = (folder / "out").string();
  spec.ratio = 0.7;
  spec.sequence_length = 64;
  spec.calibration_sequences = 4;
  spec.search.generations = 2;
  spec.search.mutations = 3;
  spec.search.crossovers = 2;
  spec.search.initial_mutations = 1;
  spec.search.sequences = 2;

  const auto directory = PrivateDirectory::Create();
  ASSERT_TRUE(directory.ok()) << directory.status();
  const auto cluster = LocalCluster::Start(**directory, {.workers = 2, .threads = 1},
                                           FakeEngineLoader(std::make_shared<FakeEngineControl>()));
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto client = JobClient::Connect({.address = (*cluster)->address()});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto submitted = (*client)->Submit(JobSpecToYaml(spec), "key");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  const auto reporter = MakeQuietReporter();
  const auto job = FollowJob(**client, submitted->id(), *reporter, {}, {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(JobOutcome(*job).ok()) << JobOutcome(*job);
  EXPECT_TRUE(std::filesystem::exists(folder / "out/subnet.json"));
  EXPECT_EQ((*client)->Workers()->workers_size(), 2);
}

}  // namespace
}  // namespace espalier
