#include "coordinator/status/status_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/version.h"
#include "coordinator/status/history.h"
#include "coordinator/status/testing_views.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

TEST(StatusJsonTest, AnEmptyCoordinator) {
  StatusSnapshot snapshot;
  snapshot.ready = true;
  snapshot.start_unix_ms = 1'700'000'000'000;
  snapshot.now = 2500;
  EXPECT_EQ(StatusJson(snapshot), Json({{"version", kVersion},
                                        {"ready", true},
                                        {"trouble", ""},
                                        {"started_unix_ms", 1'700'000'000'000},
                                        {"uptime_seconds", 2.5},
                                        {"jobs_total", 0},
                                        {"jobs", Json::array()},
                                        {"workers", Json::array()}}));
}

TEST(StatusJsonTest, ARunningJobIsOneRow) {
  StatusSnapshot snapshot;
  snapshot.start_unix_ms = 1'700'000'000'000;
  JobView job = MakeJob(3, JobState::kRunning);
  job.progress = {.phase = JobPhase::kSearch,
                  .done = 12,
                  .total = 100,
                  .unit = "candidates",
                  .units_per_second = 4.5,
                  .best_perplexity = 7.25,
                  .ratio = 0.695,
                  .generation = 1,
                  .waiting_for = "a worker to attach"};
  snapshot.jobs = {job};
  EXPECT_EQ(StatusJson(snapshot)["jobs"], Json::array({{{"id", "job-3"},
                                                        {"name", "tiny"},
                                                        {"model", "/models/tiny"},
                                                        {"output", "/out/tiny"},
                                                        {"target_ratios", {0.7}},
                                                        {"state", "running"},
                                                        {"progress",
                                                         {{"phase", "search"},
                                                          {"done", 12},
                                                          {"total", 100},
                                                          {"unit", "candidates"},
                                                          {"units_per_second", 4.5},
                                                          {"eta_seconds", nullptr},
                                                          {"best_perplexity", 7.25},
                                                          {"ratio", 0.695},
                                                          {"generation", 1},
                                                          {"size", 1},
                                                          {"sizes", 1},
                                                          {"waiting_for", "a worker to attach"}}},
                                                        {"error", ""},
                                                        {"created_unix_ms", 1'700'000'001'000},
                                                        {"finished_unix_ms", nullptr}}}));
}

TEST(StatusJsonTest, WorkersSayWhatTheyDo) {
  StatusSnapshot snapshot;
  snapshot.workers = {{.number = 4,
                       .info = {.name = "host:1",
                                .device = "cpu",
                                .device_name = "a processor",
                                .memory_bytes = 1 << 30,
                                .threads = 2,
                                .version = "1"},
                       .activity = "evaluates",
                       .progress = 0.5,
                       .tasks_done = 9}};
  EXPECT_EQ(StatusJson(snapshot)["workers"], Json::array({{{"id", "worker-4"},
                                                           {"name", "host:1"},
                                                           {"device", "cpu"},
                                                           {"device_name", "a processor"},
                                                           {"memory_bytes", 1 << 30},
                                                           {"threads", 2},
                                                           {"activity", "evaluates"},
                                                           {"progress", 0.5},
                                                           {"tasks_done", 9},
                                                           {"draining", false},
                                                           {"stage", 0},
                                                           {"stages", 1}}}));
}

TEST(StatusJsonTest, AllJobsCountAlsoThoseThatAreNotShown) {
  StatusSnapshot snapshot;
  snapshot.jobs = {MakeJob(1, JobState::kRunning), MakeJob(1001, JobState::kQueued)};
  snapshot.job_counts = {
      {JobState::kSucceeded, 999}, {JobState::kRunning, 1}, {JobState::kQueued, 1}};
  const Json json = StatusJson(snapshot);
  EXPECT_EQ(json["jobs_total"], 1001);
  ASSERT_EQ(json["jobs"].size(), 2u);
  EXPECT_EQ(json["jobs"][0]["id"], "job-1");
  EXPECT_EQ(json["jobs"][1]["id"], "job-1001");
}

TEST(JobJsonTest, AFailedJobSaysWhy) {
  JobDetail detail;
  detail.job = MakeJob(1, JobState::kFailed);
  detail.job.error = "no such text";
  const Json json = JobJson(detail);
  EXPECT_EQ(json["state"], "failed");
  EXPECT_EQ(json["error"], "no such text");
  EXPECT_EQ(json["results"], Json::array());
  EXPECT_EQ(json["finished_unix_ms"], 4000);
  EXPECT_THAT(json["spec_yaml"].get<std::string>(), HasSubstr("/models/tiny"));
}

TEST(JobJsonTest, ASucceededJobHasItsTable) {
  ResultView result;
  result.dense = {.parameters = 100, .ratio = 1, .perplexity = 5};
  result.reformed = {.parameters = 70, .ratio = 0.7, .perplexity = 6, .search_perplexity = 5.5};
  result.output = "/out/tiny";
  result.held_out = true;
  result.candidates = 21;
  result.seconds = 3;
  JobDetail detail;
  detail.job = MakeJob(1, JobState::kSucceeded);
  detail.job.results = {std::make_shared<const ResultView>(result)};
  const Json json = JobJson(detail)["results"][0];
  EXPECT_EQ(json["dense"]["perplexity"], 5);
  EXPECT_EQ(json["dense"]["search_perplexity"], nullptr);
  EXPECT_EQ(json["reformed"]["parameters"], 70);
  EXPECT_EQ(json["candidates"], 21);
  EXPECT_EQ(json["held_out"], true);
}

TEST(JobJsonTest, HistoryAndMessagesStayBounded) {
  JobDetail detail;
  detail.job = MakeJob(1, JobState::kRunning);
  JobCourse course;
  for (int i = 0; i < 10000; ++i) {
    course.Add({.unix_ms = i,
                .phase = JobPhase::kSearch,
                .done = i,
                .generation = i / 10,
                .best_perplexity = 20000.0 - i,
                .ratio = 0.7,
                .message = i % 2 == 0 ? "" : absl::StrCat("message ", i)});
  }
  detail.history = course.History();
  detail.messages = course.Messages();
  const Json json = JobJson(detail);
  for (const char* name : {"unix_ms", "generation", "candidates", "best_perplexity", "ratio"}) {
    EXPECT_EQ(json["history"][name].size(), kMostHistoryPoints) << name;
  }
  ASSERT_EQ(json["messages"].size(), kMostMessages);
  EXPECT_EQ(json["messages"].back(), Json({{"unix_ms", 9999}, {"text", "message 9999"}}));
}

TEST(JsonTextTest, TakesAnyBytesAndNumbers) {
  StatusSnapshot snapshot;
  JobView job = MakeJob(1, JobState::kRunning, "<b>\"\xff\n");
  job.progress.best_perplexity = std::numeric_limits<double>::infinity();
  job.progress.ratio = std::numeric_limits<double>::quiet_NaN();
  snapshot.jobs = {job};
  const std::string text = JsonText(StatusJson(snapshot));
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const Json parsed = Json::parse(text);
  EXPECT_EQ(parsed["jobs"][0]["name"], "<b>\"\xef\xbf\xbd\n");
  EXPECT_EQ(parsed["jobs"][0]["progress"]["best_perplexity"], nullptr);
}

}  // namespace
}  // namespace espalier
