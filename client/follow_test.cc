#include "client/follow.h"

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "client/testing/fake_coordinator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FollowTest : public ::testing::Test {
 protected:
  FollowTest() {
    v1::Job job;
    job.set_id("job-1");
    job.set_state(v1::JOB_STATE_SUCCEEDED);
    job.add_results()->set_output("/out");
    coordinator_->SetJob(job);
    auto client = JobClient::Connect({.address = coordinator_->address()});
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    options_.on_event = [this](const v1::JobEvent& event) { seen_.push_back(event.number()); };
  }

  void AddEvent(uint64_t number) {
    v1::JobEvent event;
    event.set_number(number);
    event.set_state(v1::JOB_STATE_RUNNING);
    coordinator_->AddEvent(event);
  }

  absl::StatusOr<v1::Job> Follow() {
    return FollowJob(*client_, "job-1", *reporter_, options_, stop_.get_token());
  }

  std::unique_ptr<FakeCoordinator> coordinator_ = std::make_unique<FakeCoordinator>();
  std::unique_ptr<JobClient> client_;
  std::unique_ptr<ProgressReporter> reporter_ = MakeQuietReporter();
  FollowOptions options_;
  std::stop_source stop_;
  std::vector<uint64_t> seen_;
};

TEST_F(FollowTest, ReturnsTheFinishedJob) {
  AddEvent(1);
  AddEvent(2);
  const auto job = Follow();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->results(0).output(), "/out");
  EXPECT_THAT(seen_, ElementsAre(1, 2));
}

TEST_F(FollowTest, ResumesABrokenStreamAfterTheLastEvent) {
  AddEvent(1);
  AddEvent(2);
  coordinator_->AddWatchEnd([this](grpc::ServerContext&) {
    AddEvent(3);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going down");
  });
  const auto job = Follow();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(coordinator_->watched_after(), ElementsAre(0, 2));
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
}

TEST_F(FollowTest, GivesUpWhenTheCoordinatorStaysAway) {
  coordinator_->AddWatchEnd(
      [](grpc::ServerContext&) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no"); });
  options_.reconnect_timeout = std::chrono::milliseconds::zero();
  EXPECT_TRUE(absl::IsUnavailable(Follow().status()));
}

TEST_F(FollowTest, OtherErrorsAreFinal) {
  coordinator_->AddWatchEnd([](grpc::ServerContext&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no job job-1");
  });
  EXPECT_EQ(Follow().status(), absl::NotFoundError("no job job-1"));
}

TEST_F(FollowTest, StopsWhileItWaitsForTheCoordinator) {
  coordinator_->AddWatchEnd([this](grpc::ServerContext&) {
    stop_.request_stop();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no");
  });
  EXPECT_TRUE(absl::IsCancelled(Follow().status()));
}

TEST(JobOutcomeTest, SaysWhyThereIsNoResult) {
  v1::Job job;
  job.set_id("job-1");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(JobOutcome(job).ok());
  job.set_state(v1::JOB_STATE_FAILED);
  job.set_error("model.safetensors is truncated");
  EXPECT_EQ(JobOutcome(job).message(), "model.safetensors is truncated");
  job.set_state(v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(JobOutcome(job), absl::AbortedError("job job-1 was cancelled"));
  job.set_output("/out");
  job.mutable_progress()->set_sizes(3);
  job.add_results()->set_output("/out/0.9");
  EXPECT_EQ(JobOutcome(job).message(),
            "job job-1 was cancelled; of its 3 sizes 1 had been finished: see /out");
  job.set_state(v1::JOB_STATE_RUNNING);
  EXPECT_THAT(std::string(JobOutcome(job).message()), HasSubstr("espalier watch job-1"));
}

}  // namespace
}  // namespace espalier
