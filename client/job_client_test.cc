#include "client/job_client.h"

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "client/testing/fake_coordinator.h"
#include "common/testing/certificates.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Job SomeJob() {
  v1::Job job;
  job.set_id("job-1");
  job.set_state(v1::JOB_STATE_RUNNING);
  return job;
}

std::unique_ptr<JobClient> Connected(const FakeCoordinator& coordinator) {
  auto client = JobClient::Connect({.address = coordinator.address()});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

TEST(JobClientTest, CallsReachTheCoordinator) {
  FakeCoordinator coordinator;
  coordinator.SetJob(SomeJob());
  const auto client = Connected(coordinator);
  EXPECT_EQ(client->Submit("ratio: 0.7\n", "key")->id(), "job-1");
  EXPECT_EQ(coordinator.submitted()[0].spec_yaml(), "ratio: 0.7\n");
  EXPECT_EQ(coordinator.submitted()[0].idempotency_key(), "key");
  EXPECT_EQ(client->Get("job-1")->state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(client->List()->jobs_size(), 1);
  EXPECT_EQ(client->Cancel("job-1")->id(), "job-1");
  EXPECT_THAT(coordinator.cancelled(), ElementsAre("job-1"));
  EXPECT_EQ(client->Workers()->workers(0).id(), "worker-1");
  EXPECT_EQ(client->Pause("job-1")->id(), "job-1");
  EXPECT_EQ(client->Resume("job-1")->id(), "job-1");
  EXPECT_TRUE(client->Delete("job-1").ok());
  EXPECT_TRUE(client->Drain("worker-1").ok());
  EXPECT_THAT(coordinator.changes(),
              ElementsAre("pause job-1", "resume job-1", "delete job-1", "drain worker-1"));
}

TEST(JobClientTest, TheCoordinatorsErrorsArriveAsTheyAre) {
  FakeCoordinator coordinator;
  const auto client = Connected(coordinator);
  coordinator.SetStatus({grpc::StatusCode::INVALID_ARGUMENT, "target.ratio is 2"});
  EXPECT_EQ(client->Submit("", "").status(), absl::InvalidArgumentError("target.ratio is 2"));
  EXPECT_EQ(client->Get("other").status(), absl::NotFoundError("no job other"));
}

TEST(JobClientTest, NobodyThereIsSaidInTimeWithTheAddress) {
  const std::string address = FakeCoordinator().address();  // free again
  const auto start = std::chrono::steady_clock::now();
  const auto client =
      JobClient::Connect({.address = address, .connect_timeout = milliseconds(500)});
  EXPECT_TRUE(absl::IsUnavailable(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr(address));
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("--coordinator"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(JobClientTest, TlsThatDoesNotFitTogetherIsSaidBeforeTheTimeout) {
  FakeCoordinator coordinator;
  const auto client = JobClient::Connect({.address = coordinator.address(),
                                          .connect_timeout = std::chrono::minutes(5),
                                          .security = {.tls = TlsClient{.ca = TestCa().pem()}}});
  EXPECT_TRUE(absl::IsUnauthenticated(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr(coordinator.address()));
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("ESPALIER_TLS_CA"));
}

TEST(JobClientTest, ALostConnectionNamesTheAddress) {
  auto coordinator = std::make_unique<FakeCoordinator>();
  const std::string address = coordinator->address();
  const auto client = Connected(*coordinator);
  coordinator.reset();
  const absl::Status status = client->List().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
}

TEST(JobClientTest, WatchDeliversEventsAfterTheGivenOne) {
  FakeCoordinator coordinator;
  for (uint64_t number = 1; number <= 3; ++number) {
    v1::JobEvent event;
    event.set_number(number);
    coordinator.AddEvent(event);
  }
  std::vector<uint64_t> numbers;
  const absl::Status status =
      Connected(coordinator)
          ->Watch("job-1", 1, [&](const v1::JobEvent& event) { numbers.push_back(event.number()); },
                  {});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(numbers, ElementsAre(2, 3));
}

TEST(JobClientTest, WatchEndsWhenItIsStopped) {
  FakeCoordinator coordinator;
  v1::JobEvent event;
  event.set_number(1);
  coordinator.AddEvent(event);
  coordinator.AddWatchEnd([](grpc::ServerContext& context) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  });
  std::stop_source stop;
  const absl::Status status =
      Connected(coordinator)
          ->Watch(
              "job-1", 0, [&](const v1::JobEvent&) { stop.request_stop(); }, stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

}  // namespace
}  // namespace espalier
