// The status endpoint as its clients see it: a real coordinator, a scripted worker, HTTP.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coordinator/service/server.h"
#include "coordinator/service/testing/scripted_worker.h"
#include "coordinator/service/testing/tiny_folder.h"
#include "espalier/v1/jobs.grpc.pb.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{20};

const auto kIsCandidate = [](const v1::Task& task) { return task.has_evaluate(); };

// The snapshots of an event stream, as they come.
struct ServerSentEvent {
  std::string id;
  std::string type;
  std::string data;
};

ServerSentEvent ParseEvent(const std::string& text) {
  ServerSentEvent event;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    if (field.first == "id") event.id = field.second;
    if (field.first == "event") event.type = field.second;
    if (field.first == "data") event.data = field.second;
  }
  return event;
}

class StatusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = MakeTinyFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    auto server =
        CoordinatorServer::Start({.listen = "127.0.0.1:0", .status_listen = "127.0.0.1:0"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    jobs_ = v1::JobService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  std::unique_ptr<ScriptedWorker> Worker(ScriptedWorker::Matcher hold) {
    ScriptedWorker::Options options;
    options.hold = std::move(hold);
    return std::make_unique<ScriptedWorker>(server_->address(), std::move(options));
  }
  std::unique_ptr<ScriptedWorker> Worker() {
    return Worker([](const v1::Task&) { return false; });
  }

  std::string Submit(const std::string& name = "tiny") {
    JobSpec spec = TinyFolderJob(folder_, "result");
    spec.name = name;
    grpc::ClientContext context;
    v1::SubmitJobRequest request;
    request.set_spec_yaml(JobSpecToYaml(spec));
    v1::Job job;
    const grpc::Status status = jobs_->SubmitJob(&context, request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job.id();
  }
  void WaitForEnd(const std::string& id) {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_id(id);
    const auto reader = jobs_->WatchJob(&context, request);
    v1::JobEvent event;
    while (reader->Read(&event)) {
    }
    EXPECT_EQ(event.state(), v1::JOB_STATE_SUCCEEDED) << event.error();
  }

  std::string Url() const { return absl::StrCat("http://", server_->status_address()); }
  httplib::Result Fetch(const std::string& path) { return httplib::Client(Url()).Get(path); }
  Json FetchJson(const std::string& path, int status = 200) {
    const httplib::Result result = Fetch(path);
    if (!result) {
      ADD_FAILURE() << path << ": " << httplib::to_string(result.error());
      return {};
    }
    EXPECT_EQ(result->status, status) << path << ": " << result->body;
    EXPECT_EQ(result->get_header_value("Content-Type"), "application/json");
    return Json::parse(result->body);
  }
  double Metric(const std::string& name) {
    const std::string text = Fetch("/metrics")->body;
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      const std::vector<std::string> parts = absl::StrSplit(line, ' ');
      double value = 0;
      if (parts.size() == 2 && parts[0] == name && absl::SimpleAtod(parts[1], &value)) return value;
    }
    ADD_FAILURE() << "no " << name << " in " << text;
    return 0;
  }

  // Follows the events until `stop` returns true for one; returns that.
  ServerSentEvent Follow(const std::function<bool(const ServerSentEvent&)>& stop,
                         const httplib::Headers& headers = {},
                         const std::string& path = "/api/v1/events") {
    httplib::Client client(Url());
    client.set_read_timeout(kPatience);
    const Clock::time_point deadline = Clock::now() + kPatience;
    std::string buffer;
    ServerSentEvent found;
    const httplib::Result result = client.Get(path, headers, [&](const char* data, size_t size) {
      buffer.append(data, size);
      for (size_t end = buffer.find("\n\n"); end != std::string::npos; end = buffer.find("\n\n")) {
        const ServerSentEvent event = ParseEvent(buffer.substr(0, end));
        buffer.erase(0, end + 2);
        if (event.type == "status" && stop(event)) {
          found = event;
          return false;
        }
      }
      return Clock::now() < deadline;
    });
    EXPECT_FALSE(found.id.empty()) << "no such event came";
    return found;
  }

  fs::path folder_;
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
};

TEST_F(StatusTest, ShowsAJobWhileItRunsAndWhenItIsDone) {
  const auto worker = Worker(kIsCandidate);
  const std::string id = Submit("<i>tiny</i>");
  v1::Task task = *worker->WaitForHeldTask();
  Json status = FetchJson("/api/v1/status");
  EXPECT_EQ(status["ready"], true);
  ASSERT_EQ(status["jobs"].size(), 1u);
  EXPECT_EQ(status["jobs"][0]["id"], id);
  EXPECT_EQ(status["jobs"][0]["name"], "<i>tiny</i>");
  EXPECT_EQ(status["jobs"][0]["state"], "running");
  EXPECT_EQ(status["jobs"][0]["progress"]["phase"], "initialize");
  ASSERT_EQ(status["workers"].size(), 1u);
  EXPECT_EQ(status["workers"][0]["name"], "scripted");
  EXPECT_EQ(Metric("espalier_jobs{state=\"running\"}"), 1);
  EXPECT_EQ(Metric("espalier_workers"), 1);

  worker->Break();
  const auto other = Worker();
  WaitForEnd(id);
  const Json job = FetchJson("/api/v1/jobs/" + id);
  EXPECT_EQ(job["state"], "succeeded");
  EXPECT_EQ(job["results"][0]["candidates"], 21);
  EXPECT_EQ(job["results"][0]["output"], (folder_ / "result").string());
  const auto best = job["history"]["best_perplexity"].get<std::vector<double>>();
  ASSERT_GE(best.size(), 3u);  // one for each generation at least
  EXPECT_TRUE(std::is_sorted(best.rbegin(), best.rend()));
  EXPECT_EQ(job["history"]["candidates"].back(), 21);
  EXPECT_EQ(job["history"]["generation"].back(), 2);
  EXPECT_THAT(job["messages"].dump(), AllOf(HasSubstr("was lost"), HasSubstr("generation 2")));
}

TEST_F(StatusTest, CountsWhatHappened) {
  const auto worker = Worker();
  WaitForEnd(Submit());
  EXPECT_EQ(Metric("espalier_jobs{state=\"succeeded\"}"), 1);
  EXPECT_EQ(Metric("espalier_candidates_evaluated_total"), 21);
  const double assigned = Metric("espalier_tasks_assigned_total");
  EXPECT_GT(assigned, 21);
  EXPECT_EQ(Metric("espalier_tasks_finished_total") + Metric("espalier_tasks_failed_total") +
                Metric("espalier_tasks_returned_total"),
            assigned);
  EXPECT_EQ(Metric("espalier_worker_leases_expired_total"), 0);
  EXPECT_GT(Metric("espalier_uptime_seconds"), 0);
  EXPECT_GT(Metric("process_resident_memory_bytes"), 1 << 20);
}

TEST_F(StatusTest, EventsFollowAJobToItsEnd) {
  const auto worker = Worker();
  std::thread submitter([this] { Submit(); });
  const ServerSentEvent last = Follow([](const ServerSentEvent& event) {
    const Json jobs = Json::parse(event.data)["jobs"];
    return !jobs.empty() && jobs[0]["state"] == "succeeded";
  });
  submitter.join();
  EXPECT_EQ(Json::parse(last.data)["jobs"][0]["progress"]["phase"], "export");
}

TEST_F(StatusTest, EventsResumeAfterWhatWasSeen) {
  const auto any = [](const ServerSentEvent&) { return true; };
  const ServerSentEvent first = Follow(any);
  // Nothing happened since; then a job comes, and only that is told.
  std::thread submitter([this] { Submit(); });
  const ServerSentEvent next = Follow(any, {{"Last-Event-ID", first.id}});
  submitter.join();
  EXPECT_NE(next.id, first.id);
  EXPECT_EQ(Json::parse(next.data)["jobs"].size(), 1u);
  // An id of another coordinator process, or an older one: the present at once.
  EXPECT_FALSE(Follow(any, {}, "/api/v1/events?after=12-1").id.empty());
  EXPECT_FALSE(Follow(any, {}, "/api/v1/events?after=" + first.id).id.empty());
}

TEST_F(StatusTest, UnknownThingsAreNotFound) {
  EXPECT_THAT(FetchJson("/api/v1/jobs/job-7", 404)["error"].get<std::string>(),
              HasSubstr("no job was submitted"));
  EXPECT_THAT(FetchJson("/api/v2/status", 404)["error"].get<std::string>(),
              HasSubstr("/api/v1/status"));
}

TEST_F(StatusTest, WhatCannotBeUnderstoodIsRefusedWithTheReason) {
  EXPECT_THAT(FetchJson("/api/v1/jobs/7", 400)["error"].get<std::string>(), HasSubstr("job-1"));
  EXPECT_THAT(FetchJson("/api/v1/jobs/job-1%2f..", 400)["error"].get<std::string>(),
              HasSubstr("no job id"));
  EXPECT_THAT(FetchJson("/api/v1/status?x=1", 400)["error"].get<std::string>(),
              HasSubstr("no parameters"));
  EXPECT_THAT(FetchJson("/api/v1/events?after=soon", 400)["error"].get<std::string>(),
              HasSubstr("after"));
  EXPECT_THAT(FetchJson("/api/v1/events?since=1", 400)["error"].get<std::string>(),
              HasSubstr("\"after\", once"));
  const httplib::Result post = httplib::Client(Url()).Post("/api/v1/status", "{}", "text/plain");
  ASSERT_TRUE(post);
  EXPECT_EQ(post->status, 405);
  EXPECT_EQ(post->get_header_value("Allow"), "GET, HEAD");
}

TEST_F(StatusTest, ProbesAndPage) {
  EXPECT_EQ(Fetch("/livez")->status, 200);
  EXPECT_EQ(Fetch("/readyz")->body, "ready\n");
  const httplib::Result head = httplib::Client(Url()).Head("/api/v1/events");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(Metric("espalier_status_event_streams"), 0);
  const httplib::Result page = Fetch("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page->get_header_value("Content-Security-Policy"), HasSubstr("default-src 'none'"));
  EXPECT_THAT(page->body, AllOf(StartsWith("<!DOCTYPE html>"), HasSubstr("EventSource")));
  EXPECT_THAT(page->body, ::testing::Not(HasSubstr("@ESPALIER")));
  // Nothing on it is put together as HTML.
  EXPECT_THAT(page->body, ::testing::Not(HasSubstr("innerHTML")));
}

TEST_F(StatusTest, OnlySoManyStreamsAreServedAndTheyLeaveRoomForTheRest) {
  constexpr int kMostStreams = 8;
  std::atomic<int> started = 0;
  std::vector<std::thread> followers;
  for (int i = 0; i < kMostStreams; ++i) {
    followers.emplace_back([&] {
      bool first = true;
      httplib::Client client(Url());
      client.set_read_timeout(kPatience);
      client.Get("/api/v1/events", [&](const char*, size_t) {
        if (std::exchange(first, false)) {
          ++started;
          started.notify_all();
        }
        return true;
      });
    });
  }
  for (int now = started; now < kMostStreams; now = started) started.wait(now);
  EXPECT_THAT(FetchJson("/api/v1/events", 503)["error"].get<std::string>(), HasSubstr("later"));
  EXPECT_EQ(Fetch("/livez")->status, 200);
  EXPECT_EQ(Metric("espalier_status_event_streams"), kMostStreams);
  server_->Shutdown();
  for (std::thread& follower : followers) follower.join();
}

TEST_F(StatusTest, ShutdownEndsEventStreams) {
  std::atomic<bool> following = false;
  bool ended_well = false;
  std::thread follower([&] {
    httplib::Client client(Url());
    client.set_read_timeout(kPatience);
    client.Get("/api/v1/events", [&](const char*, size_t) {
      following = true;
      following.notify_all();
      return true;
    });
    ended_well = true;
  });
  following.wait(false);
  const Clock::time_point start = Clock::now();
  server_->Shutdown();
  follower.join();
  EXPECT_TRUE(ended_well);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
  EXPECT_FALSE(Fetch("/livez"));
}

TEST(StatusListenTest, AnAddressInUseIsAnError) {
  const auto first =
      CoordinatorServer::Start({.listen = "127.0.0.1:0", .status_listen = "127.0.0.1:0"});
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = CoordinatorServer::Start(
      {.listen = "127.0.0.1:0", .status_listen = (*first)->status_address()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(second.status().message(),
              AllOf(HasSubstr("--status-listen"), HasSubstr((*first)->status_address())));
}

TEST(StatusListenTest, WithoutAnAddressThereIsNone) {
  const auto server = CoordinatorServer::Start({.listen = "127.0.0.1:0"});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->status_address(), "");
}

TEST(StatusListenTest, ASocketFileIsRefused) {
  const auto server =
      CoordinatorServer::Start({.listen = "127.0.0.1:0", .status_listen = "unix:/x"});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace espalier
