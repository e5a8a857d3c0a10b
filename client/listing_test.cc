#include "client/listing.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Job RunningJob() {
  v1::Job job;
  job.set_id("job-1");
  job.set_name("small");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_output("/out");
  job.set_spec_yaml("seed: 1\n");
  job.set_created_unix_ms(1'700'000'000'000);
  job.mutable_progress()->set_phase(v1::JOB_PHASE_SEARCH);
  job.mutable_progress()->set_done(30);
  job.mutable_progress()->set_total(40);
  job.mutable_progress()->set_unit("candidates");
  job.mutable_progress()->set_best_perplexity(31.5);
  return job;
}

TEST(JobsTableTest, ARowSaysWhereAJobIs) {
  v1::ListJobsResponse jobs;
  EXPECT_THAT(JobsTable(jobs), HasSubstr("No jobs"));
  *jobs.add_jobs() = RunningJob();
  v1::Job* failed = jobs.add_jobs();
  failed->set_id("job-2");
  failed->set_state(v1::JOB_STATE_FAILED);
  failed->set_error("model.safetensors:\ntruncated");
  const std::string table = JobsTable(jobs);
  EXPECT_THAT(table, HasSubstr("job-1  small  running  Search  75.0%     31.50  "));
  EXPECT_THAT(table, HasSubstr("model.safetensors: truncated\n"));
}

TEST(WorkersTableTest, ARowSaysWhatAWorkerDoes) {
  v1::ListWorkersResponse workers;
  EXPECT_THAT(WorkersTable(workers), HasSubstr("espalier-worker"));
  v1::Worker* worker = workers.add_workers();
  worker->set_id("w1");
  worker->set_name("host:42");
  worker->set_device("cpu");
  worker->set_memory_bytes(int64_t{8} << 30);
  worker->set_tasks_done(1200);
  EXPECT_THAT(WorkersTable(workers), HasSubstr("w1  host:42  cpu     8.0 GiB       1,200  idle\n"));
  worker->set_activity("evaluating");
  worker->set_progress(0.5);
  EXPECT_THAT(WorkersTable(workers), HasSubstr("evaluating 50.0%\n"));
}

TEST(JobDetailsTest, ShowsTheSpecificationAndTheError) {
  v1::Job job = RunningJob();
  EXPECT_THAT(JobDetails(job), HasSubstr("progress  Search: 30/40 candidates"));
  EXPECT_THAT(JobDetails(job), HasSubstr("\nseed: 1\n"));
  EXPECT_THAT(JobDetails(job), Not(HasSubstr("error")));
  job.set_state(v1::JOB_STATE_FAILED);
  job.set_error("out of memory");
  EXPECT_THAT(JobDetails(job), HasSubstr("error     out of memory\n"));
  EXPECT_THAT(JobDetails(job), Not(HasSubstr("progress")));
}

TEST(JsonTest, JobsHaveNullForWhatDoesNotApply) {
  const nlohmann::ordered_json json = JobToJson(RunningJob());
  EXPECT_EQ(json["id"], "job-1");
  EXPECT_EQ(json["state"], "running");
  EXPECT_EQ(json["phase"], "search");
  EXPECT_EQ(json["progress"]["done"], 30);
  EXPECT_EQ(json["progress"]["best_perplexity"], 31.5);
  EXPECT_TRUE(json["progress"]["eta_seconds"].is_null());
  EXPECT_TRUE(json["error"].is_null());
  EXPECT_EQ(json["results"], nlohmann::ordered_json::array());
  EXPECT_TRUE(json["finished_unix_ms"].is_null());
}

TEST(JsonTest, ListsAreObjectsEvenWhenEmpty) {
  EXPECT_EQ(JobsToJson({}).dump(), R"({"jobs":[]})");
  EXPECT_EQ(WorkersToJson({}).dump(), R"({"workers":[]})");
  v1::ListWorkersResponse workers;
  workers.add_workers()->set_id("w1");
  EXPECT_EQ(WorkersToJson(workers)["workers"][0]["id"], "w1");
}

TEST(JsonTest, EventsCarryTheirNumber) {
  v1::JobEvent event;
  event.set_number(7);
  event.set_state(v1::JOB_STATE_SUCCEEDED);
  event.add_results()->set_output("/out");
  const nlohmann::ordered_json json = EventToJson(event);
  EXPECT_EQ(json["number"], 7);
  EXPECT_EQ(json["state"], "succeeded");
  EXPECT_EQ(json["results"][0]["output"], "/out");
  EXPECT_TRUE(json["progress"].is_null());
}

}  // namespace
}  // namespace espalier
