// The coordinator as its clients and workers see it: a real server, scripted workers.
#include "coordinator/service/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/model_folder.h"
#include "common/sha256.h"
#include "coordinator/service/testing/scripted_worker.h"
#include "coordinator/service/testing/tiny_folder.h"
#include "espalier/v1/jobs.grpc.pb.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const auto kIsCandidate = [](const v1::Task& task) { return task.has_evaluate(); };
const auto kIsExport = [](const v1::Task& task) { return task.has_export_(); };
const auto kIsAnything = [](const v1::Task&) { return true; };

std::set<std::string> Names(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = MakeTinyFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    Start({.listen = "127.0.0.1:0"});
  }

  void Start(const CoordinatorOptions& options) {
    auto server = CoordinatorServer::Start(options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    jobs_ = v1::JobService::NewStub(channel_);
  }

  std::unique_ptr<ScriptedWorker> Worker(ScriptedWorker::Options options = {}) {
    return std::make_unique<ScriptedWorker>(server_->address(), std::move(options));
  }
  std::unique_ptr<ScriptedWorker> Worker(ScriptedWorker::Matcher hold) {
    ScriptedWorker::Options options;
    options.hold = std::move(hold);
    return Worker(std::move(options));
  }

  grpc::Status Submit(const std::string& yaml, v1::Job* job, const std::string& key = "") {
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    request.set_spec_yaml(yaml);
    request.set_idempotency_key(key);
    return jobs_->SubmitJob(&context, request, job);
  }
  v1::Job Submit(const JobSpec& spec) {
    v1::Job job;
    const grpc::Status status = Submit(JobSpecToYaml(spec), &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  v1::Job SubmitTiny(const std::string& output = "result") {
    return Submit(TinyFolderJob(folder_, output));
  }

  v1::Job Get(const std::string& id) {
    grpc::ClientContext context;
    v1::GetJobRequest request;
    request.set_id(id);
    v1::Job job;
    const grpc::Status status = jobs_->GetJob(&context, request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  grpc::Status Cancel(const std::string& id) {
    grpc::ClientContext context;
    v1::CancelJobRequest request;
    request.set_id(id);
    v1::Job job;
    return jobs_->CancelJob(&context, request, &job);
  }

  // Until the job's end, or until `stop` returns true for an event.
  std::vector<v1::JobEvent> Watch(
      const std::string& id, uint64_t after = 0,
      const std::function<bool(const v1::JobEvent&)>& stop = [](const auto&) { return false; }) {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_id(id);
    request.set_after_event(after);
    const auto reader = jobs_->WatchJob(&context, request);
    std::vector<v1::JobEvent> events;
    v1::JobEvent event;
    while (reader->Read(&event)) {
      events.push_back(event);
      if (!stop(event)) continue;
      context.TryCancel();
      reader->Finish();
      return events;
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return events;
  }
  v1::JobEvent End(const std::string& id) { return Watch(id).back(); }
  void WatchForMessage(const std::string& id, const std::string& part) {
    const auto events = Watch(id, 0, [&](const v1::JobEvent& event) {
      return event.message().find(part) != std::string::npos;
    });
    EXPECT_THAT(events.back().message(), HasSubstr(part));
  }

  fs::path folder_;
  std::unique_ptr<CoordinatorServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

// ---- The whole way ----

TEST_F(ServerTest, AJobEndsWithAWholeResultFolder) {
  const auto worker = Worker();
  const v1::Job job = SubmitTiny();
  EXPECT_EQ(job.id(), "job-1");
  const v1::JobEvent end = End(job.id());
  ASSERT_EQ(end.state(), v1::JOB_STATE_SUCCEEDED) << end.error();
  EXPECT_GT(end.results(0).dense().perplexity(), 1);
  EXPECT_EQ(end.results(0).candidates(), 21);
  EXPECT_EQ(end.results(0).output(), (folder_ / "result").string());

  const fs::path result = folder_ / "result";
  EXPECT_THAT(Names(result), UnorderedElementsAre("compact", "padded", "subnet.json",
                                                  "population.jsonl", "report.json", "job.yaml"));
  EXPECT_THAT(Names(folder_), UnorderedElementsAre("model", "train.txt", "test.txt", "result"));
  const ModelConfig config = *ReadModelConfig(folder_ / "model");
  const auto masks = ReadSubnet(result / "subnet.json", config);
  ASSERT_TRUE(masks.ok()) << masks.status();
  const auto compact = OpenModelFolder(result / "compact");
  ASSERT_TRUE(compact.ok()) << compact.status();
  EXPECT_EQ(*compact->masks, *masks);
  EXPECT_EQ(end.results(0).reformed().parameters(), CountParameters(*masks, config));
  const auto padded = OpenModelFolder(result / "padded");
  ASSERT_TRUE(padded.ok()) << padded.status();
  EXPECT_FALSE(padded->masks.has_value());
  EXPECT_TRUE(ReadJobSpec(result / "job.yaml").ok());

  const v1::Job done = Get(job.id());
  EXPECT_EQ(done.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_GE(done.finished_unix_ms(), done.created_unix_ms());
  EXPECT_GT(done.created_unix_ms(), 1'600'000'000'000);
}

TEST_F(ServerTest, OneAndThreeWorkersWriteTheSameBytes) {
  {
    const auto worker = Worker();
    ASSERT_EQ(End(SubmitTiny("one").id()).state(), v1::JOB_STATE_SUCCEEDED);
  }
  std::vector<std::unique_ptr<ScriptedWorker>> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(Worker());
  ASSERT_EQ(End(SubmitTiny("three").id()).state(), v1::JOB_STATE_SUCCEEDED);
  for (const char* file : {"population.jsonl", "subnet.json", "compact/config.json",
                           "compact/model.safetensors", "padded/model.safetensors"}) {
    EXPECT_EQ(*ReadFile(folder_ / "one" / file), *ReadFile(folder_ / "three" / file)) << file;
  }
}

TEST_F(ServerTest, WatchingResumesFromAnEventNumber) {
  const auto worker = Worker();
  const std::string id = SubmitTiny().id();
  const std::vector<v1::JobEvent> all = Watch(id);
  ASSERT_GT(all.size(), 10u);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].number(), i + 1);
  const std::vector<v1::JobEvent> rest = Watch(id, 7);
  ASSERT_EQ(rest.size(), all.size() - 7);
  for (size_t i = 0; i < rest.size(); ++i) {
    EXPECT_EQ(rest[i].SerializeAsString(), all[i + 7].SerializeAsString());
  }
  EXPECT_THAT(Watch(id, all.size()), IsEmpty());
}

TEST_F(ServerTest, ABrokenWatchIsNoHarm) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  for (int i = 0; i < 5; ++i) Watch(id, 0, [](const auto&) { return true; });
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_EQ(End(id).state(), v1::JOB_STATE_CANCELLED);
}

// ---- Workers ----

TEST_F(ServerTest, WorkersAreListedWithWhatTheyDo) {
  const auto worker = Worker(kIsCandidate);
  SubmitTiny();
  ASSERT_TRUE(worker->WaitForHeldTask().has_value());
  grpc::ClientContext context;
  v1::ListWorkersResponse response;
  ASSERT_TRUE(jobs_->ListWorkers(&context, {}, &response).ok());
  ASSERT_EQ(response.workers_size(), 1);
  EXPECT_EQ(response.workers(0).id(), "worker-1");
  EXPECT_EQ(response.workers(0).name(), "scripted");
  EXPECT_GE(response.workers(0).tasks_done(), 1);
}

TEST_F(ServerTest, AnotherVersionIsRefusedNamingBoth) {
  ScriptedWorker::Options options;
  options.version = "0.0.1";
  const auto worker = Worker(options);
  const auto end = worker->WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(end->error_message(), AllOf(HasSubstr("0.0.1"), HasSubstr("0.1.0")));
  EXPECT_FALSE(worker->WaitForWelcome().has_value());
}

TEST_F(ServerTest, MessagesThatMakeNoSenseEndTheStreamAndNothingElse) {
  {
    const auto twice = Worker();
    ASSERT_TRUE(twice->WaitForWelcome().has_value());
    v1::WorkerMessage hello;
    hello.mutable_hello()->set_name("again");
    twice->Send(hello);
    EXPECT_EQ(twice->WaitForEnd()->error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    const auto empty = Worker();
    ASSERT_TRUE(empty->WaitForWelcome().has_value());
    empty->Send(v1::WorkerMessage());
    EXPECT_EQ(empty->WaitForEnd()->error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    const auto stub = v1::WorkerService::NewStub(channel_);
    const auto stream = stub->Attach(&context);
    v1::WorkerMessage heartbeat;
    heartbeat.mutable_heartbeat();
    stream->Write(heartbeat);
    v1::CoordinatorMessage message;
    EXPECT_FALSE(stream->Read(&message));
    EXPECT_THAT(stream->Finish().error_message(), HasSubstr("must be a hello"));
  }
  const auto good = Worker();
  EXPECT_EQ(End(SubmitTiny().id()).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(ServerTest, AMalformedAnswerIsRefusedAndTheWorkIsDoneAgain) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  const v1::Task task = *worker->WaitForHeldTask();
  v1::TaskResult result = RightAnswer(task);
  result.mutable_evaluate()->add_nll_sums(1);
  worker->SendResult(result);
  WatchForMessage(id, "malformed answer: an evaluation of 2 sequences");
  // The same candidate again, this time without any answer at all.
  worker->WaitForHeldTask();
  const v1::Task again = *worker->WaitForHeldTask();
  EXPECT_EQ(again.evaluate().SerializeAsString(), task.evaluate().SerializeAsString());
  v1::TaskResult nothing;
  nothing.set_task_id(again.id());
  nothing.set_epoch(again.epoch());
  worker->SendResult(nothing);
  WatchForMessage(id, "is given up: worker-1 (scripted): malformed answer");
}

TEST_F(ServerTest, TheEndOfALeaseEndsTheStreamAndOthersGoOn) {
  server_->Shutdown();
  Start({.listen = "127.0.0.1:0",
         .heartbeat = std::chrono::milliseconds(100),
         .lease = std::chrono::milliseconds(1000)});
  const auto silent = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  const v1::Task task = *silent->WaitForHeldTask();
  silent->StopHeartbeats();
  const auto end = silent->WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(end->error_message(), HasSubstr("attach again"));
  const auto other = Worker();
  EXPECT_EQ(End(id).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(ServerTest, ALostWorkerIsReplaced) {
  auto lost = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  ASSERT_TRUE(lost->WaitForHeldTask().has_value());
  lost.reset();
  WatchForMessage(id, "was lost");
  EXPECT_EQ(Get(id).progress().waiting_for(), "a worker to attach");
  const auto other = Worker();
  EXPECT_EQ(End(id).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(ServerTest, AGoodbyeEndsTheStreamWell) {
  const auto worker = Worker(kIsCandidate);
  SubmitTiny();
  ASSERT_TRUE(worker->WaitForHeldTask().has_value());
  v1::WorkerMessage goodbye;
  goodbye.mutable_goodbye()->set_reason("preempted");
  worker->Send(goodbye);
  const auto end = worker->WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(end->ok()) << end->error_message();
}

// ---- Uploads ----

class UploadTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    worker_ = Worker(kIsExport);
    id_ = SubmitTiny().id();
    const auto task = worker_->WaitForHeldTask();
    ASSERT_TRUE(task.has_value());
    task_ = *task;
  }

  void ExpectRefused(const std::string& name, const std::string& reason,
                     const std::function<void(v1::ArtifactChunk&)>& spoil = {}) {
    const grpc::Status status = worker_->Upload(task_, name, std::string(2500, 'x'), spoil);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.error_message(), HasSubstr(reason));
  }

  std::unique_ptr<ScriptedWorker> worker_;
  std::string id_;
  v1::Task task_;
};

TEST_F(UploadTest, OnlyWholeFilesOfTheExportInProgressAreTaken) {
  for (const char* name : {"", "model.safetensors", "compact/", "compact/../../evil", "compact/a/b",
                           "/etc/passwd", "compact/.hidden"}) {
    ExpectRefused(name, "expected compact/ and a plain file name");
  }
  const std::string file = "compact/a.bin";
  ExpectRefused(file, "SHA-256", [](auto& chunk) { chunk.set_sha256(std::string(64, '0')); });
  ExpectRefused(file, "where offset 1000 was due",
                [](auto& chunk) { chunk.set_offset(chunk.offset() > 0 ? 7 : 0); });
  ExpectRefused(file, "before its end", [](auto& chunk) { chunk.set_last(false); });
  ExpectRefused(file, "not an export in progress", [](auto& chunk) { chunk.set_epoch(99); });
  ExpectRefused(file, "not an export in progress", [](auto& chunk) { chunk.set_task_id(1); });
  ExpectRefused(file, "not an export in progress", [](auto& chunk) { chunk.set_job_id("job-9"); });
  ExpectRefused(file, "no job id", [](auto& chunk) { chunk.set_job_id("../x"); });
  // After all that, the export itself still works, and nothing of it is left over.
  worker_->Answer(task_);
  EXPECT_EQ(End(id_).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(Names(folder_ / "result" / "compact"),
              UnorderedElementsAre("config.json", "model.safetensors"));
}

TEST_F(UploadTest, AnExportOfAnotherSubnetFailsTheJob) {
  const ModelConfig config = *ReadModelConfig(folder_ / "model");
  const Subnet dense = Subnet::Dense(config);
  const std::string dense_json = *ReadFile(folder_ / "model" / "config.json");
  worker_->Upload(task_, "compact/config.json",
                  *CompactConfigJson(dense_json, config, dense, DType::kFloat32));
  worker_->Upload(task_, "compact/model.safetensors.part-0", ZeroSafetensors(config, dense));
  worker_->SendResult(RightAnswer(task_));
  const v1::JobEvent end = End(id_);
  EXPECT_EQ(end.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(end.error(), HasSubstr("another subnet"));
  server_->Shutdown();
  EXPECT_THAT(Names(folder_), UnorderedElementsAre("model", "train.txt", "test.txt"));
}

TEST_F(UploadTest, AnExportThatNeverArrivedFailsTheJob) {
  worker_->SendResult(RightAnswer(task_));
  const v1::JobEvent end = End(id_);
  EXPECT_EQ(end.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(end.error(), HasSubstr("compact"));
}

// ---- Clients ----

TEST_F(ServerTest, CancellingStopsTheWorkersAndLeavesNothing) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  const v1::Task first = *worker->WaitForHeldTask();
  const v1::Task second = *worker->WaitForHeldTask();
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_TRUE(worker->WaitForCancel(first.id()));
  EXPECT_TRUE(worker->WaitForCancel(second.id()));
  EXPECT_EQ(End(id).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(Cancel(id).ok());  // once more is no error
  // A late answer is acknowledged, so that the worker can forget it.
  worker->SendResult(RightAnswer(first));
  EXPECT_TRUE(worker->WaitForAck(first.id()));
  server_->Shutdown();
  EXPECT_THAT(Names(folder_), UnorderedElementsAre("model", "train.txt", "test.txt"));
}

TEST_F(ServerTest, APausedJobFinishesItsTasksAndGoesOnWhenItIsResumed) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  const v1::Task first = *worker->WaitForHeldTask();
  const v1::Task second = *worker->WaitForHeldTask();
  v1::Job job;
  {
    grpc::ClientContext context;
    v1::PauseJobRequest request;
    request.set_id(id);
    ASSERT_TRUE(jobs_->PauseJob(&context, request, &job).ok());
  }
  EXPECT_EQ(job.state(), v1::JOB_STATE_PAUSED);
  worker->Answer(first);
  worker->Answer(second);
  EXPECT_TRUE(worker->WaitForAck(second.id()));
  EXPECT_EQ(Get(id).state(), v1::JOB_STATE_PAUSED);
  {
    grpc::ClientContext context;
    v1::ResumeJobRequest request;
    request.set_id(id);
    ASSERT_TRUE(jobs_->ResumeJob(&context, request, &job).ok());
  }
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_TRUE(worker->WaitForHeldTask().has_value());
}

TEST_F(ServerTest, AJobThatHasEndedIsDeletedWithItsEvents) {
  const auto remove = [this](const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteJobRequest request;
    request.set_id(id);
    v1::DeleteJobResponse response;
    return jobs_->DeleteJob(&context, request, &response);
  };
  const std::string id = SubmitTiny().id();
  EXPECT_EQ(remove(id).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(Cancel(id).ok());
  EXPECT_TRUE(remove(id).ok());
  EXPECT_EQ(remove(id).error_code(), grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext context;
  v1::WatchJobRequest watch;
  watch.set_id(id);
  const auto reader = jobs_->WatchJob(&context, watch);
  v1::JobEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(SubmitTiny().id(), "job-2");
}

TEST_F(ServerTest, ADrainedWorkerIsSentAwayWhenItHasFinished) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = SubmitTiny().id();
  const v1::Task first = *worker->WaitForHeldTask();
  const v1::Task second = *worker->WaitForHeldTask();
  const auto drain = [this](const std::string& name) {
    grpc::ClientContext context;
    v1::DrainWorkerRequest request;
    request.set_id(name);
    v1::DrainWorkerResponse response;
    return jobs_->DrainWorker(&context, request, &response);
  };
  ASSERT_TRUE(drain("worker-1").ok());
  worker->Answer(first);
  worker->Answer(second);
  const auto end = worker->WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_TRUE(end->ok()) << end->error_message();
  EXPECT_EQ(worker->dismissal(), "it was drained");
  EXPECT_EQ(drain("worker-1").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(drain("Peter").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, ASecondSubmissionWithTheSameKeyIsTheSameJob) {
  const std::string yaml = JobSpecToYaml(TinyFolderJob(folder_, "result"));
  v1::Job first;
  v1::Job second;
  ASSERT_TRUE(Submit(yaml, &first, "key").ok());
  ASSERT_TRUE(Submit(yaml, &second, "key").ok());
  EXPECT_EQ(first.id(), second.id());
  grpc::ClientContext context;
  v1::ListJobsResponse response;
  ASSERT_TRUE(jobs_->ListJobs(&context, {}, &response).ok());
  EXPECT_EQ(response.jobs_size(), 1);
  // Without a key it is another job, and that may not write to the same place.
  v1::Job third;
  const grpc::Status status = Submit(yaml, &third);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("job-1"));
}

TEST_F(ServerTest, UnknownJobsAreNotFound) {
  grpc::ClientContext context;
  v1::GetJobRequest request;
  request.set_id("job-3");
  v1::Job job;
  EXPECT_EQ(jobs_->GetJob(&context, request, &job).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Cancel("job-3").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Cancel("nonsense").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext watch_context;
  v1::WatchJobRequest watch;
  watch.set_id("job-3");
  const auto reader = jobs_->WatchJob(&watch_context, watch);
  v1::JobEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, ATextThatIsTooShortFailsTheJobWithTheNumbers) {
  JobSpec spec = TinyFolderJob(folder_, "result");
  spec.calibration_sequences = 5000;
  const v1::JobEvent end = End(Submit(spec).id());
  EXPECT_EQ(end.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(end.error(), AllOf(HasSubstr("train.txt"), HasSubstr("2000")));
}

struct BadSubmission {
  std::string name;
  std::function<std::string(const fs::path&)> yaml;  // of the job, in the test's folder
  std::vector<std::string> reasons;
};

std::string With(const fs::path& folder, const std::function<void(JobSpec&)>& change) {
  JobSpec spec = TinyFolderJob(folder, "result");
  change(spec);
  return JobSpecToYaml(spec);
}

class BadSubmissionTest : public ServerTest, public ::testing::WithParamInterface<BadSubmission> {};

TEST_P(BadSubmissionTest, IsRefusedAtOnceWithTheReason) {
  v1::Job job;
  const grpc::Status status = Submit(GetParam().yaml(folder_), &job);
  EXPECT_FALSE(status.ok());
  for (const std::string& reason : GetParam().reasons) {
    EXPECT_THAT(status.error_message(), HasSubstr(reason));
  }
  grpc::ClientContext context;
  v1::ListJobsResponse response;
  ASSERT_TRUE(jobs_->ListJobs(&context, {}, &response).ok());
  EXPECT_EQ(response.jobs_size(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadSubmissionTest,
    ::testing::Values(
        BadSubmission{"NoYaml", [](const fs::path&) { return std::string("a: [b"); }, {"job:"}},
        BadSubmission{
            "UnknownKey",
            [](const fs::path& f) { return With(f, [](JobSpec&) {}) + "generatons: 3\n"; },
            {"generatons"}},
        BadSubmission{"NoRatio",
                      [](const fs::path& f) { return With(f, [](JobSpec& s) { s.ratio = 0; }); },
                      {"ratio"}},
        BadSubmission{"ImpossibleRatio",
                      [](const fs::path& f) { return With(f, [](JobSpec& s) { s.ratio = 0.01; }); },
                      {"ratio"}},
        BadSubmission{
            "NoModel",
            [](const fs::path& f) { return With(f, [&](JobSpec& s) { s.model = f / "nowhere"; }); },
            {"model:", "nowhere"}},
        BadSubmission{"NoTokenizer",
                      [](const fs::path& f) {
                        fs::remove(f / "model" / "tokenizer.json");
                        return With(f, [](JobSpec&) {});
                      },
                      {"model:", "tokenizer.json", "tokenizer.model"}},
        BadSubmission{"AnotherArchitecture",
                      [](const fs::path& f) {
                        std::ofstream(f / "model" / "config.json")
                            << R"({"architectures": ["BertModel"], "model_type": "bert"})";
                        return With(f, [](JobSpec&) {});
                      },
                      {"bert"}},
        BadSubmission{"NoText",
                      [](const fs::path& f) {
                        return With(f, [&](JobSpec& s) { s.text.path = f / "none.txt"; });
                      },
                      {"text:", "none.txt"}},
        BadSubmission{"NoEvalText",
                      [](const fs::path& f) {
                        return With(f, [&](JobSpec& s) { s.eval_text.path = f / "none.txt"; });
                      },
                      {"eval_text:", "none.txt"}},
        BadSubmission{"OutputIsTaken",
                      [](const fs::path& f) {
                        fs::create_directories(f / "result" / "something");
                        return With(f, [](JobSpec&) {});
                      },
                      {"output:", "result"}},
        BadSubmission{"OutputBelowAFile",
                      [](const fs::path& f) {
                        return With(f, [&](JobSpec& s) { s.output = f / "train.txt" / "result"; });
                      },
                      {"output:", "train.txt"}}),
    [](const auto& info) { return info.param.name; });

// ---- The server ----

TEST_F(ServerTest, APortInUseIsUnavailableNamingTheAddress) {
  const auto second = CoordinatorServer::Start({.listen = server_->address()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(server_->address()), HasSubstr("in use")));
}

TEST_F(ServerTest, AUnixSocketServesAndIsNotTakenOver) {
  server_->Shutdown();
  const std::string address = absl::StrCat("unix:", (folder_ / "s").string());
  Start({.listen = address});
  EXPECT_EQ(server_->address(), address);
  const auto second = CoordinatorServer::Start({.listen = address});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(address));
  const auto worker = Worker();
  EXPECT_TRUE(worker->WaitForWelcome().has_value());
}

TEST_F(ServerTest, RefusesLeasesShorterThanThreeHeartbeats) {
  const auto server = CoordinatorServer::Start({.listen = "127.0.0.1:0",
                                                .heartbeat = std::chrono::milliseconds(1000),
                                                .lease = std::chrono::milliseconds(2999)});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ServerTest, ShutdownCancelsTellsAndLeavesNothing) {
  const auto worker = Worker(kIsAnything);
  const std::string id = SubmitTiny().id();
  ASSERT_TRUE(worker->WaitForHeldTask().has_value());
  grpc::ClientContext context;
  v1::WatchJobRequest request;
  request.set_id(id);
  const auto watching = jobs_->WatchJob(&context, request);
  v1::JobEvent event;
  ASSERT_TRUE(watching->Read(&event));  // from now on it follows the job
  std::thread rest([&] {
    while (watching->Read(&event)) {
    }
  });
  server_->Shutdown();
  rest.join();
  EXPECT_EQ(event.state(), v1::JOB_STATE_CANCELLED);
  const auto end = worker->WaitForEnd();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Names(folder_), UnorderedElementsAre("model", "train.txt", "test.txt"));
  server_->Shutdown();  // once more is no error
}

// One message there and one back, as bytes.
std::string RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                    const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, method, &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  EXPECT_TRUE(wait());
  const grpc::Slice slice(request);
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  EXPECT_TRUE(wait());
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  EXPECT_TRUE(wait());
  std::vector<grpc::Slice> slices;
  response.Dump(&slices);
  std::string bytes;
  for (const grpc::Slice& part : slices) {
    bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  EXPECT_TRUE(wait());
  EXPECT_TRUE(status.ok()) << status.error_message();
  return bytes;
}

TEST_F(ServerTest, HealthAndReflectionAreOn) {
  // HealthCheckResponse{status: SERVING}.
  EXPECT_EQ(RawCall(channel_, "/grpc.health.v1.Health/Check", ""), "\x08\x01");
  // ServerReflectionRequest{list_services: "*"}.
  EXPECT_THAT(RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                      "\x3a\x01*"),
              AllOf(HasSubstr("espalier.v1.JobService"), HasSubstr("espalier.v1.WorkerService")));
}

}  // namespace
}  // namespace espalier
