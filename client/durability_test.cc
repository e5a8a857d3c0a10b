// Coordinators that are killed: the next one on the same state goes on, and nothing is lost.
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "client/exit_codes.h"
#include "client/testing/results.h"
#include "client/testing/service_fixture.h"
#include "common/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class DurabilityTest : public ServiceTest {
 protected:
  std::vector<std::string> Job(const std::string& command, const std::string& name,
                               const std::vector<std::string>& more = {}) const {
    std::vector<std::string> flags = {
        "--generations", "60", "--seed", "5", "--output", (results() / name).string()};
    flags.insert(flags.end(), more.begin(), more.end());
    return SmallJob(command, flags);
  }

  void ExpectResultsOnly(const std::vector<std::string>& names) const {
    std::vector<std::string> left;
    for (const auto& entry : std::filesystem::directory_iterator(results())) {
      left.push_back(entry.path().filename().string());
    }
    EXPECT_THAT(left, ::testing::UnorderedElementsAreArray(names));
  }
};

// One job under twenty-one kills.
TEST_F(DurabilityTest, AKilledCoordinatorGoesOnWhereItWas) {
  ASSERT_EQ(Espalier(Job("run", "undisturbed")).status, kExitOk);
  StartCoordinator();
  const auto worker = StartWorker("staying");
  const std::string id = Json(Job("submit", "disturbed"))["id"];
  Process watch(Command({"watch", id}), environment_);
  // While it prepares, right after a restart, and in the search, in turns. A generation takes
  // milliseconds, so a kill hits it anywhere.
  ASSERT_TRUE(coordinator_->WaitForError("job-1: text:")) << coordinator_->err();
  for (int kills = 0; kills < 21; ++kills) {
    KillCoordinator();
    StartCoordinator();
    const char* point = kills % 3 == 0 ? "job-1 goes on" : "job-1: generation";
    ASSERT_TRUE(coordinator_->WaitForError(point)) << coordinator_->err();
  }
  EXPECT_EQ(watch.Wait(), kExitOk) << watch.err();
  ExpectSameFiles(ReadResult(results() / "undisturbed"), ReadResult(results() / "disturbed"));
  ExpectResultsOnly({"undisturbed", "disturbed"});

  // The watcher saw every event once.
  EXPECT_GT(ExpectWholeLog(Espalier({"watch", id, "--json"}).out), 30);
}

TEST_F(DurabilityTest, AJobThatEndedIsStillThere) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  const nlohmann::json table = Json(Job("submit", "out", {"--wait", "--idempotency-key", "k"}));
  const std::string id = Json({"list"})["jobs"][0]["id"];
  const std::string before = Espalier({"watch", id, "--json"}).out;
  KillCoordinator();
  StartCoordinator();
  EXPECT_EQ(Json({"result", id}), table);
  EXPECT_EQ(Espalier({"watch", id, "--json"}).out, before);
  // The same submission is still the same job, and a new one has a new id.
  EXPECT_EQ(Json(Job("submit", "out", {"--idempotency-key", "k"}))["id"], id);
  EXPECT_NE(Json(Job("submit", "other"))["id"], id);
}

TEST_F(DurabilityTest, AStoppedCoordinatorKeepsItsJobs) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  const std::string id = Json(Job("submit", "out"))["id"];
  ASSERT_TRUE(coordinator_->WaitForError("generation 2:")) << coordinator_->err();
  coordinator_->Signal(SIGTERM);
  EXPECT_EQ(coordinator_->Wait(), 0);
  StartCoordinator();
  EXPECT_EQ(Espalier({"watch", id}).status, kExitOk);
  ExpectResultsOnly({"out"});
}

TEST_F(DurabilityTest, ACancelledJobStaysCancelled) {
  StartCoordinator();
  const std::string id = Json(Job("submit", "out"))["id"];
  ASSERT_EQ(Espalier({"cancel", id}).status, kExitOk);
  KillCoordinator();
  StartCoordinator();
  EXPECT_EQ(Json({"get", id})["state"], "cancelled");
}

TEST_F(DurabilityTest, APausedJobStaysPausedUntilItIsResumed) {
  StartCoordinator();
  const std::string id = Json(Job("submit", "out"))["id"];
  EXPECT_EQ(Json({"pause", id})["state"], "paused");
  KillCoordinator();
  StartCoordinator();
  EXPECT_EQ(Json({"get", id})["state"], "paused");
  const auto worker = StartWorker("only");
  EXPECT_EQ(Espalier({"resume", id}).out, "Resumed " + id + "\n");
  EXPECT_EQ(Espalier({"watch", id}).status, kExitOk);
  ExpectResultsOnly({"out"});
}

// Nobody has to evaluate its candidates: the store knows them, also after a restart.
TEST_F(DurabilityTest, TheSameSearchAgainIsAnsweredFromTheStore) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  const std::string first = Json(Job("submit", "out"))["id"];
  ASSERT_EQ(Espalier({"watch", first}).status, kExitOk);
  KillCoordinator();
  StartCoordinator();
  const std::string again = Json(Job("submit", "again"))["id"];
  ASSERT_EQ(Espalier({"watch", again}).status, kExitOk);
  EXPECT_THAT(coordinator_->err(), HasSubstr("are not evaluated again"));
  ExpectResultsOnly({"again", "out"});
}

TEST_F(DurabilityTest, ADeletedJobIsGoneForGoodAndItsResultStays) {
  StartCoordinator();
  const auto worker = StartWorker("only");
  const std::string id = Json(Job("submit", "out"))["id"];
  ASSERT_EQ(Espalier({"watch", id}).status, kExitOk);
  EXPECT_EQ(Json({"delete", id})["deleted"], id);
  KillCoordinator();
  StartCoordinator();
  EXPECT_EQ(Json({"list"})["jobs"].size(), 0u);
  EXPECT_NE(Json(Job("submit", "more"))["id"], id);
  EXPECT_EQ(Espalier({"drain", "worker-1"}).status, kExitOk);
  EXPECT_EQ(worker->Wait(), 0);
}

TEST_F(DurabilityTest, ATextThatChangedMeanwhileFailsTheJob) {
  StartCoordinator();
  const std::string id = Json(Job("submit", "out"))["id"];
  ASSERT_TRUE(coordinator_->WaitForError("job-1: text:")) << coordinator_->err();
  KillCoordinator();
  const std::string contents = *ReadFile(text());
  ASSERT_TRUE(WriteFileAtomically(text(), "Quite another beginning. " + contents).ok());
  StartCoordinator();
  const Finished watch = Espalier({"watch", id});
  EXPECT_EQ(watch.status, kExitFailure);
  EXPECT_THAT(watch.err, HasSubstr("submit it again"));
}

TEST_F(DurabilityTest, TwoCoordinatorsDoNotShareAState) {
  StartCoordinator();
  const Finished second = RunProcess({ESPALIER_COORDINATOR_PROGRAM, "--listen", "127.0.0.1:0",
                                      "--state", state().string(), "--status-listen", "none"});
  EXPECT_EQ(second.status, kExitFailure);
  EXPECT_THAT(second.err, HasSubstr("another espalier-coordinator"));
}

}  // namespace
}  // namespace espalier
