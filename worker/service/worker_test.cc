#include "worker/service/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "common/model_folder.h"
#include "common/sha256.h"
#include "common/testing/certificates.h"
#include "common/version.h"
#include "worker/service/testing/fake_engine.h"
#include "worker/service/testing/scripted_coordinator.h"
#include "worker/service/testing/tiny_model.h"

namespace espalier {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

int Code(absl::StatusCode code) { return static_cast<int>(code); }

class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest()
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    WriteTinyModel(folder_ / "model", 1);
  }

  // An address of this test alone, where nobody listens at first.
  std::string Socket() const { return "unix:" + (folder_ / "socket").string(); }
  std::unique_ptr<Worker> StartWorker(const std::string& address,
                                      milliseconds connect_timeout = milliseconds(0)) {
    auto worker = Worker::Start({.coordinator = address,
                                 .name = "tester",
                                 .device = "cpu",
                                 .threads = 3,
                                 .connect_timeout = connect_timeout},
                                FakeEngineLoader(fake_));
    EXPECT_TRUE(worker.ok()) << worker.status();
    return *std::move(worker);
  }
  v1::Task MakeTask(uint64_t id) const {
    v1::Task task;
    task.set_id(id);
    task.set_job_id("job-1");
    task.mutable_model()->set_path((folder_ / "model").string());
    task.mutable_model()->set_precision("float32");
    return task;
  }
  v1::Task EvaluateTask(uint64_t id) const {
    v1::Task task = MakeTask(id);
    *task.mutable_evaluate()->mutable_subnet() = ToMessage(TinySubnet());
    task.mutable_evaluate()->set_data_set(text_.hash);
    task.mutable_evaluate()->set_sequence_count(text_.count());
    return task;
  }
  void SendText(ScriptedCoordinator* coordinator) const {
    v1::CoordinatorMessage message;
    *message.mutable_data_set() = ToMessage(text_);
    coordinator->Send(message);
  }

  const std::filesystem::path folder_;
  const TokenSequences text_ = TinySequences(2, 4);
  const std::shared_ptr<FakeEngineControl> fake_ = std::make_shared<FakeEngineControl>();
};

TEST_F(WorkerTest, SaysHelloWorksAndSaysGoodbye) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  const v1::Hello hello = coordinator.last_hello();
  EXPECT_EQ(hello.name(), "tester");
  EXPECT_EQ(hello.device(), "cpu");
  EXPECT_EQ(hello.threads(), 3);
  EXPECT_EQ(hello.version(), std::string(kVersion));
  EXPECT_GT(hello.memory_bytes(), 0);
  EXPECT_FALSE(hello.device_name().empty());

  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  const auto result = coordinator.WaitForResult(1);
  ASSERT_TRUE(result.has_value());
  ASSERT_FALSE(result->has_error()) << result->error().message();
  EXPECT_EQ(result->epoch(), 1u);
  EXPECT_EQ(result->evaluate().nll_sums(0),
            FakeNll(TinySubnet(), TinyConfig(), text_.tokens.data(), 8, false));
  coordinator.SendAck(1);

  worker->Stop();
  EXPECT_EQ(worker->Wait(), absl::OkStatus());
  ASSERT_TRUE(coordinator.WaitUntilStreamEnds());
  EXPECT_TRUE(coordinator.messages().back().has_goodbye());
}

TEST_F(WorkerTest, HeartbeatsGoOnWhileATaskIsBusy) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  ASSERT_TRUE(coordinator.WaitFor([](const auto& message) {
    return message.has_heartbeat() && message.heartbeat().task_id() == 0 &&
           message.heartbeat().activity() == "idle";
  }));
  fake_->Block();
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  ASSERT_TRUE(fake_->WaitUntilBlocked());
  for (int i = 0; i < 3; ++i) {
    const auto beat = coordinator.WaitFor([](const v1::WorkerMessage& message) {
      return message.heartbeat().task_id() == 1 && message.heartbeat().progress() == 0.5;
    });
    ASSERT_TRUE(beat.has_value());
    EXPECT_EQ(beat->heartbeat().activity(), "scoring a subnet on 2 sequences");
  }
  fake_->Release();
  const auto result = coordinator.WaitForResult(1);
  ASSERT_TRUE(result.has_value());
  EXPECT_FALSE(result->has_error()) << result->error().message();
}

// With a heartbeat once an hour, only progress can explain one that names the task.
TEST_F(WorkerTest, BigStepsAreReportedBeforeThePeriodEnds) {
  ScriptedCoordinator coordinator({.heartbeat_milliseconds = 3'600'000});
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  fake_->Block();
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  EXPECT_TRUE(coordinator.WaitFor([](const v1::WorkerMessage& message) {
    return message.heartbeat().task_id() == 1 && message.heartbeat().progress() == 0.5;
  }));
  fake_->Release();
}

TEST_F(WorkerTest, CancelsRunningAndQueuedTasks) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  fake_->Block();
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  coordinator.SendTask(EvaluateTask(2));
  ASSERT_TRUE(fake_->WaitUntilBlocked());
  coordinator.SendCancel(2);
  auto result = coordinator.WaitForResult(2);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->error().code(), Code(absl::StatusCode::kCancelled));
  coordinator.SendCancel(1);
  result = coordinator.WaitForResult(1);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->error().code(), Code(absl::StatusCode::kCancelled));
  EXPECT_EQ(fake_->counts().evaluations, 1);
}

TEST_F(WorkerTest, RejoinsAsNewAfterALostStream) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  fake_->Block();
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  coordinator.SendTask(EvaluateTask(2));
  ASSERT_TRUE(fake_->WaitUntilBlocked());
  coordinator.DropStream();
  ASSERT_TRUE(coordinator.WaitForStreams(2));
  fake_->Release();
  // Data sets of the old stream are gone with it.
  coordinator.SendTask(EvaluateTask(3));
  auto result = coordinator.WaitForResult(3);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->error().code(), Code(absl::StatusCode::kFailedPrecondition));
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(4));
  result = coordinator.WaitForResult(4);
  ASSERT_TRUE(result.has_value());
  EXPECT_FALSE(result->has_error()) << result->error().message();
  EXPECT_EQ(result->epoch(), 2u);
  for (const v1::WorkerMessage& message : coordinator.messages()) {
    EXPECT_NE(message.result().task_id(), 1u);
    EXPECT_NE(message.result().task_id(), 2u);
  }
  EXPECT_EQ(fake_->counts().evaluations, 2);  // task 2 never began
}

TEST_F(WorkerTest, ComesBackToACoordinatorThatWasRestarted) {
  ScriptedCoordinator first({.address = Socket()});
  const auto worker = StartWorker(Socket());
  ASSERT_TRUE(first.WaitForStreams(1));
  first.Shutdown();
  ScriptedCoordinator second({.address = Socket()});
  EXPECT_TRUE(second.WaitForStreams(1));
}

TEST_F(WorkerTest, SecondDeliveryOfADoneTaskIsAnsweredFromWhatIsKept) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  ASSERT_TRUE(coordinator.WaitForResult(1));
  const auto is_result = [](const v1::WorkerMessage& message) { return message.has_result(); };
  ASSERT_TRUE(coordinator.WaitFor(is_result));
  coordinator.SendTask(EvaluateTask(1));
  ASSERT_TRUE(coordinator.WaitFor(is_result));
  EXPECT_EQ(fake_->counts().evaluations, 1);
  coordinator.SendAck(1);
  coordinator.SendTask(EvaluateTask(1));  // forgotten: computed again
  ASSERT_TRUE(coordinator.WaitFor(is_result));
  EXPECT_EQ(fake_->counts().evaluations, 2);
}

TEST_F(WorkerTest, GivesUpOnACoordinatorThatIsNotThere) {
  const std::string address = Socket();
  const auto worker = StartWorker(address, milliseconds(300));
  const absl::Status status = worker->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(address));
  EXPECT_THAT(status.message(), HasSubstr("0.3 s"));
  EXPECT_THAT(status.message(), HasSubstr("No such file"));  // the network's reason
}

TEST_F(WorkerTest, GivesUpOnACoordinatorThatNeverAnswers) {
  ScriptedCoordinator coordinator({.welcomes = false});
  const auto worker = StartWorker(coordinator.address(), milliseconds(300));
  const absl::Status status = worker->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("no welcome"));
}

TEST_F(WorkerTest, GivesUpWhenTheCoordinatorStaysAway) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address(), milliseconds(300));
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  coordinator.Shutdown();
  EXPECT_EQ(worker->Wait().code(), absl::StatusCode::kUnavailable);
}

TEST_F(WorkerTest, RefusedByVersionItDoesNotTryAgain) {
  ScriptedCoordinator coordinator(
      {.refusal = absl::FailedPreconditionError("worker 0.1.0, coordinator 9.9.9")});
  const auto worker = StartWorker(coordinator.address());
  const absl::Status status = worker->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("coordinator 9.9.9"));
  EXPECT_THAT(status.message(), HasSubstr(coordinator.address()));
  EXPECT_EQ(coordinator.streams(), 1);
}

TEST_F(WorkerTest, DismissedItEndsWithoutAnError) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  v1::CoordinatorMessage message;
  message.mutable_dismissal()->set_reason("it was drained");
  coordinator.Send(message);
  coordinator.DropStream();
  EXPECT_TRUE(worker->Wait().ok());
  EXPECT_EQ(coordinator.streams(), 1);
}

TEST_F(WorkerTest, RefusedForAMomentItTriesAgain) {
  ScriptedCoordinator coordinator({.refusal = absl::UnavailableError("starting up")});
  const auto worker = StartWorker(coordinator.address());
  EXPECT_TRUE(coordinator.WaitForStreams(3));
}

TEST_F(WorkerTest, StopHandsBackTheRunningTask) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  fake_->Block();
  SendText(&coordinator);
  coordinator.SendTask(EvaluateTask(1));
  ASSERT_TRUE(fake_->WaitUntilBlocked());
  worker->Stop();
  worker->Stop();
  EXPECT_EQ(worker->Wait(), absl::OkStatus());
  ASSERT_TRUE(coordinator.WaitUntilStreamEnds());
  EXPECT_TRUE(coordinator.messages().back().has_goodbye());
  for (const v1::WorkerMessage& message : coordinator.messages()) {
    EXPECT_FALSE(message.has_result());
  }
}

TEST_F(WorkerTest, StopsWhileItTriesToConnect) {
  const auto worker = StartWorker(Socket());
  worker->Stop();
  EXPECT_EQ(worker->Wait(), absl::OkStatus());
}

TEST_F(WorkerTest, StopsWhileItWaitsForTheWelcome) {
  ScriptedCoordinator coordinator({.welcomes = false});
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  const auto begin = std::chrono::steady_clock::now();
  worker->Stop();
  EXPECT_EQ(worker->Wait(), absl::OkStatus());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(1500));  // not the grace time
}

TEST_F(WorkerTest, UploadsAnExport) {
  ScriptedCoordinator coordinator;
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  v1::Task task = MakeTask(5);
  *task.mutable_export_()->mutable_subnet() = ToMessage(TinySubnet());
  coordinator.SendTask(task);
  const auto result = coordinator.WaitForResult(5);
  ASSERT_TRUE(result.has_value());
  ASSERT_FALSE(result->has_error()) << result->error().message();
  auto files = coordinator.files();
  ASSERT_EQ(files.size(), 4u);
  int64_t bytes = 0;
  for (const auto& [name, file] : files) {
    EXPECT_EQ(file.sha256, Sha256Hex(file.bytes)) << name;
    EXPECT_EQ(file.job_id, "job-1");
    EXPECT_EQ(file.task_id, 5u);
    bytes += static_cast<int64_t>(file.bytes.size());
  }
  EXPECT_EQ(result->export_().bytes(), bytes);
  const std::string header = SafetensorsHeader(
      ExpectedTensors(TinyConfig(), TinySubnet(), DType::kFloat32), {{"format", "pt"}});
  EXPECT_EQ(files["compact/model.safetensors.part-0"].bytes.substr(0, header.size()), header);
}

TEST_F(WorkerTest, StopsWhileAnUploadIsHeldBack) {
  ScriptedCoordinator coordinator;
  coordinator.StallUploads();
  const auto worker = StartWorker(coordinator.address());
  ASSERT_TRUE(coordinator.WaitForStreams(1));
  v1::Task task = MakeTask(5);
  *task.mutable_export_()->mutable_subnet() = ToMessage(TinySubnet());
  coordinator.SendTask(task);
  ASSERT_TRUE(coordinator.WaitFor([](const v1::WorkerMessage& message) {
    return message.heartbeat().activity() == "exporting the subnet";
  }));
  worker->Stop();
  EXPECT_EQ(worker->Wait(), absl::OkStatus());
}

TEST_F(WorkerTest, EndsAtOnceWhenTlsDoesNotFitTogether) {
  ScriptedCoordinator coordinator;
  WorkerOptions options;  // it would try for ever to reach a coordinator that is not there
  options.coordinator = coordinator.address();
  options.security.tls = TlsClient{.ca = TestCa().pem()};
  const auto worker = Worker::Start(options, FakeEngineLoader(fake_));
  ASSERT_TRUE(worker.ok()) << worker.status();
  const absl::Status outcome = (*worker)->Wait();
  EXPECT_EQ(outcome.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(outcome.message()), HasSubstr("does not speak TLS"));
  EXPECT_EQ(coordinator.streams(), 0);
}

TEST_F(WorkerTest, RefusesBadOptions) {
  const EngineLoader loader = FakeEngineLoader(fake_);
  EXPECT_EQ(Worker::Start({}, loader).status().code(), absl::StatusCode::kInvalidArgument);
  WorkerOptions options;
  options.coordinator = "127.0.0.1:1";
  options.device = "tpu";
  EXPECT_EQ(Worker::Start(options, loader).status().code(), absl::StatusCode::kInvalidArgument);
  options.device = "cpu";
  options.threads = -1;
  EXPECT_EQ(Worker::Start(options, loader).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace espalier
