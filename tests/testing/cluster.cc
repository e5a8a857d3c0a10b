#include "tests/testing/cluster.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/status/status.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

}  // namespace

TestCluster::TestCluster()
    : coordinator_(OrDie(CoordinatorServer::Start({.listen = "127.0.0.1:0",
                                                   .heartbeat = std::chrono::milliseconds(100),
                                                   .lease = std::chrono::milliseconds(20000)}))),
      client_(OrDie(JobClient::Connect({.address = coordinator_->address()}))) {}

std::unique_ptr<Worker> TestCluster::AddWorker(const EngineLoader& loader) const {
  WorkerOptions options;
  options.coordinator = coordinator_->address();
  options.threads = 1;
  options.stage_listen = "127.0.0.1:0";
  return OrDie(Worker::Start(options, loader));
}

void TestCluster::WaitForWorkers(int count) const {
  // There is no event for this, so it is asked for.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (OrDie(client_->Workers()).workers_size() < count) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << count << " workers did not attach within a minute";
      return;
    }
    std::this_thread::yield();
  }
}

std::string TestCluster::Submit(const JobSpec& spec) const {
  return OrDie(client_->Submit(JobSpecToYaml(spec), "")).id();
}

void TestCluster::Cancel(const std::string& job) const { OrDie(client_->Cancel(job)); }

v1::Job TestCluster::WaitForEnd(const std::string& job) const {
  const absl::Status status = client_->Watch(job, 0, [](const v1::JobEvent&) {}, {});
  EXPECT_TRUE(status.ok()) << status;
  return OrDie(client_->Get(job));
}

bool TestCluster::WaitForPhase(const std::string& job, v1::JobPhase phase) const {
  std::stop_source stop;
  bool reached = false;
  const absl::Status status = client_->Watch(
      job, 0,
      [&](const v1::JobEvent& event) {
        reached = reached || event.progress().phase() == phase;
        if (reached) stop.request_stop();
      },
      stop.get_token());
  return reached;
}

JobSpec OrchardJob(const fs::path& output) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.name = "orchard";
  spec.model = fs::absolute("models/orchard").string();
  spec.text = {.path = fs::absolute("models/orchard/valid.txt").string(),
               .format = TextFormat::kWikiText};
  spec.eval_text = {.path = fs::absolute("models/orchard/test.txt").string(),
                    .format = TextFormat::kWikiText};
  spec.sequence_length = 64;
  spec.ratio = 0.7;
  spec.tolerance = 0.02;
  spec.seed = 7;
  spec.output = output.string();
  spec.calibration_sequences = 4;
  spec.eval_sequences = 2;
  spec.search.generations = 2;
  spec.search.mutations = 8;
  spec.search.crossovers = 4;
  spec.search.initial_mutations = 4;
  spec.search.survivors = 3;
  spec.search.sequences = 2;
  return spec;
}

void WaitUntilEmpty(const fs::path& folder) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!fs::is_empty(folder)) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << folder << " is not empty after a minute";
      return;
    }
    std::this_thread::yield();
  }
}

fs::path FreshFolder() {
  const ::testing::TestInfo& test = *::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = std::string(test.test_suite_name()) + "." + test.name();
  for (char& c : name) c = c == '/' ? '-' : c;
  fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

}  // namespace espalier
