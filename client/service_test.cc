// Coordinator, workers and client as processes of their own.
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/exit_codes.h"
#include "client/testing/process.h"
#include "client/testing/service_fixture.h"
#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace espalier {
namespace {

using ::testing::HasSubstr;

TEST_F(ServiceTest, AJobFromSubmissionToResult) {
  StartCoordinator();
  const auto first = StartWorker("first");
  const auto second = StartWorker("second");
  const nlohmann::json workers = Json({"workers"});
  ASSERT_EQ(workers["workers"].size(), 2u);
  EXPECT_THAT(Espalier({"workers"}).out, HasSubstr("second"));

  const nlohmann::json table = Json(SmallJob("submit", {"--wait", "--name", "small"}));
  EXPECT_EQ(table["output"], output().string());
  EXPECT_TRUE(std::filesystem::exists(output() / "subnet.json"));

  const nlohmann::json job = Json({"list"})["jobs"][0];
  EXPECT_EQ(job["name"], "small");
  EXPECT_EQ(job["state"], "succeeded");
  const std::string id = job["id"];
  EXPECT_EQ(Json({"result", id}), table);
  EXPECT_EQ(Json({"get", id})["results"][0], table);
  EXPECT_THAT(Espalier({"result", id}).out, HasSubstr("reformed"));

  // Following a finished job tells its whole story again.
  const Finished watch = Espalier({"watch", id});
  EXPECT_EQ(watch.status, kExitOk);
  EXPECT_THAT(watch.err, HasSubstr("Search     done in"));
  const Finished events = Espalier({"watch", id, "--json"});
  const std::string first_event = events.out.substr(0, events.out.find('\n'));
  EXPECT_EQ(nlohmann::json::parse(first_event)["number"], 1);
}

TEST_F(ServiceTest, TheSameKeyIsTheSameJob) {
  StartCoordinator();
  const auto job = SmallJob("submit", {"--idempotency-key", "k"});
  const Finished first = Espalier(job);
  ASSERT_EQ(first.status, kExitOk) << first.err;
  EXPECT_EQ(Espalier(job).out, first.out);
  EXPECT_EQ(Json({"list"})["jobs"].size(), 1u);
}

TEST_F(ServiceTest, ACancelledJobLeavesNothing) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  const std::string id = Json(SmallJob("submit", {"--generations", "100000"}))["id"];
  Process watch(Command({"watch", id}), environment_);
  ASSERT_TRUE(watch.WaitForError("Search: ")) << watch.err();
  const Finished unfinished = Espalier({"result", id});
  EXPECT_EQ(unfinished.status, kExitFailure);
  EXPECT_THAT(unfinished.err, HasSubstr("espalier watch " + id));
  EXPECT_EQ(Espalier({"cancel", id}).status, kExitOk);
  EXPECT_EQ(watch.Wait(), kExitFailure);
  EXPECT_THAT(watch.err(), HasSubstr("cancelled"));
  ExpectNothingLeft();
}

TEST_F(ServiceTest, CtrlCLeavesASubmittedJobRunning) {
  StartCoordinator();
  Process submit(Command(SmallJob("submit", {"--wait"})), environment_);
  ASSERT_TRUE(submit.WaitForError("waiting for")) << submit.err();
  submit.Signal(SIGINT);
  EXPECT_EQ(submit.Wait(), kExitInterrupted);
  EXPECT_THAT(submit.err(), HasSubstr("goes on"));
  const nlohmann::json job = Json({"list"})["jobs"][0];
  EXPECT_THAT(job["state"].get<std::string>(), ::testing::AnyOf("queued", "running"));
}

TEST_F(ServiceTest, ALostWorkersWorkGoesToAnother) {
  StartCoordinator();
  auto first = StartWorker("first");
  const auto second = StartWorker("second");
  Process submit(Command(SmallJob("submit", {"--wait", "--generations", "40"})), environment_);
  ASSERT_TRUE(submit.WaitForError("Search: ")) << submit.err();
  first->Signal(SIGKILL);
  EXPECT_EQ(submit.Wait(), kExitOk) << submit.err();
  EXPECT_TRUE(std::filesystem::exists(output() / "compact/model.safetensors"));
}

TEST_F(ServiceTest, TheCoordinatorsEndEndsTheWatching) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  Process submit(Command(SmallJob("submit", {"--wait", "--generations", "100000"})), environment_);
  ASSERT_TRUE(submit.WaitForError("Search: ")) << submit.err();
  coordinator_->Signal(SIGKILL);
  ASSERT_TRUE(submit.WaitForError("trying again")) << submit.err();
  submit.Signal(SIGINT);
  EXPECT_EQ(submit.Wait(), kExitInterrupted) << submit.err();
}

TEST_F(ServiceTest, PortInUse) {
  StartCoordinator();
  const std::string address = environment_["ESPALIER_COORDINATOR"];
  const Finished second = RunProcess({ESPALIER_COORDINATOR_PROGRAM, "--listen", address, "--state",
                                      "none", "--status-listen", "none"});
  EXPECT_EQ(second.status, kExitFailure);
  EXPECT_THAT(second.err, HasSubstr(address));
}

TEST_F(ServiceTest, OneWorkerAndThreeGiveTheSameBytes) {
  const auto run = [this](const std::string& name, const std::string& workers) {
    const std::filesystem::path out = results() / name;
    const Finished finished =
        Espalier(SmallJob("run", {"--seed", "7", "--workers", workers, "--output", out.string()}));
    EXPECT_EQ(finished.status, kExitOk) << finished.err;
    return out;
  };
  const std::filesystem::path one = run("one", "1");
  const std::filesystem::path three = run("three", "3");
  for (const char* file : {"population.jsonl", "compact/model.safetensors", "compact/config.json",
                           "padded/model.safetensors"}) {
    EXPECT_EQ(*ReadFile(one / file), *ReadFile(three / file)) << file;
  }
  const auto masks = [](const std::filesystem::path& folder) {
    return nlohmann::json::parse(*ReadFile(folder / "subnet.json"))["masks"];
  };
  EXPECT_EQ(masks(one), masks(three));
}

}  // namespace
}  // namespace espalier
