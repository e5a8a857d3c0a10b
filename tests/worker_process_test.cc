// espalier-worker as a process of its own: its flags, signals and sudden death.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/testing/process.h"
#include "client/testing/results.h"
#include "tests/testing/cluster.h"
#include "worker/engine/engine.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

Finished RunWorker(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), ESPALIER_WORKER_PROGRAM);
  return RunProcess(arguments);
}

std::unique_ptr<Process> StartWorker(const TestCluster& cluster, const std::string& name) {
  return std::make_unique<Process>(std::vector<std::string>{ESPALIER_WORKER_PROGRAM,
                                                            "--coordinator", cluster.address(),
                                                            "--threads", "1", "--name", name});
}

TEST(WorkerProcessTest, HelpShowsHowToUseIt) {
  const Finished help = RunWorker({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("--coordinator"));
  EXPECT_THAT(help.out, HasSubstr("Example"));
  EXPECT_THAT(help.out, HasSubstr("--connect-timeout"));
}

TEST(WorkerProcessTest, WrongArgumentsAreRefused) {
  const Finished missing = RunWorker({});
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.err, HasSubstr("--coordinator"));
  const Finished device = RunWorker({"--coordinator", "127.0.0.1:1", "--device", "tpu"});
  EXPECT_EQ(device.status, 2);
  EXPECT_THAT(device.err, HasSubstr("'tpu' is neither 'cpu' nor 'cuda:N'"));
  const Finished threads = RunWorker({"--coordinator", "127.0.0.1:1", "--threads", "-2"});
  EXPECT_EQ(threads.status, 2);
  EXPECT_THAT(threads.err, HasSubstr("--threads"));
  const Finished scratch = RunWorker({"--coordinator", "127.0.0.1:1", "--scratch", "/nowhere"});
  EXPECT_EQ(scratch.status, 2);
  EXPECT_THAT(scratch.err, HasSubstr("--scratch /nowhere: No such file or directory"));
  const Finished advertised =
      RunWorker({"--coordinator", "127.0.0.1:1", "--stage-advertise", "gpu-3"});
  EXPECT_EQ(advertised.status, 2);
  EXPECT_THAT(advertised.err, HasSubstr("--stage-advertise gpu-3: not HOST:PORT"));
}

TEST(WorkerProcessTest, CoordinatorThatIsNotThere) {
  const std::string address = "unix:" + (FreshFolder() / "socket").string();
  const Finished worker = RunWorker({"--coordinator", address, "--connect-timeout", "0.2"});
  EXPECT_EQ(worker.status, 1);
  EXPECT_THAT(worker.err, HasSubstr(address));
  EXPECT_THAT(worker.err, HasSubstr("start espalier-coordinator there"));
}

TEST(WorkerProcessTest, EndsWellOnSigtermWhenIdle) {
  const TestCluster cluster;
  const auto worker = StartWorker(cluster, "idle");
  cluster.WaitForWorkers(1);
  worker->Signal(SIGTERM);
  EXPECT_EQ(worker->Wait(), 0) << worker->err();
}

TEST(WorkerProcessTest, EndsWellOnCtrlCWhenBusyAndItsTaskGoesToAnother) {
  const std::filesystem::path folder = FreshFolder();
  const TestCluster cluster;
  JobSpec spec = OrchardJob(folder / "result");
  spec.calibration_sequences = 256;
  const auto worker = StartWorker(cluster, "busy");
  const std::string job = cluster.Submit(spec);
  ASSERT_TRUE(cluster.WaitForPhase(job, v1::JOB_PHASE_CALIBRATE));
  worker->Signal(SIGINT);
  EXPECT_EQ(worker->Wait(), 0) << worker->err();
  const auto other = cluster.AddWorker(Engine::Load);
  const v1::Job ended = cluster.WaitForEnd(job);
  EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
}

TEST(WorkerProcessTest, KilledInTheSearchItChangesNothing) {
  const std::filesystem::path folder = FreshFolder();
  const auto run = [&](const std::string& name, bool kill) {
    const TestCluster cluster;
    const auto staying = StartWorker(cluster, "staying");
    const auto killed = kill ? StartWorker(cluster, "killed") : nullptr;
    cluster.WaitForWorkers(kill ? 2 : 1);
    const std::string job = cluster.Submit(OrchardJob(folder / name));
    EXPECT_TRUE(cluster.WaitForPhase(job, v1::JOB_PHASE_SEARCH));
    if (kill) killed->Signal(SIGKILL);
    const v1::Job ended = cluster.WaitForEnd(job);
    EXPECT_EQ(ended.state(), v1::JOB_STATE_SUCCEEDED) << ended.error();
    return ReadResult(folder / name);
  };
  const auto undisturbed = run("undisturbed", false);
  const auto disturbed = run("disturbed", true);
  ExpectSameFiles(undisturbed, disturbed);
}

}  // namespace
}  // namespace espalier
