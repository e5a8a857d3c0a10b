#include "coordinator/service/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/jobs/testing/fakes.h"
#include "proto/statistics_messages.h"

namespace espalier {
namespace {

TEST(MessagesTest, JobNamesGoThereAndBack) {
  EXPECT_EQ(*ParseJobName(JobName(17)), 17u);
  for (const char* name :
       {"", "job-", "job-x", "17", "job-017", "job- 1", "job--1", "job-99999999999999999999"}) {
    EXPECT_EQ(ParseJobName(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(MessagesTest, ATaskCarriesPackedMasksAndTheReformation) {
  Subnet subnet = Subnet::Dense(testing_fakes::TinyConfig());
  subnet.layers[1].mlp.Set(9, false);
  SendTask action{.worker = 1, .task = 7, .epoch = 3, .job = 2, .model = {}, .work = {}};
  action.model = {.path = "/m", .precision = Precision::kBFloat16, .hash = "h"};
  EvaluateWork work;
  work.subnet = std::make_shared<const Subnet>(subnet);
  work.data_set = "d";
  work.first = 4;
  work.count = 2;
  work.reformation = {
      .method = ReformationMethod::kAdmm, .damping = 0.5, .rho = 2, .iterations = 9};
  work.calibration = "c";
  action.work = work;
  action.stage = {0, 2};
  const v1::Task task = TaskMessage(action).task();
  EXPECT_EQ(task.id(), 7u);
  EXPECT_EQ(task.epoch(), 3u);
  EXPECT_EQ(task.job_id(), "job-2");
  EXPECT_EQ(task.model().precision(), "bfloat16");
  ASSERT_EQ(task.evaluate().subnet().layers_size(), 2);
  EXPECT_EQ(task.evaluate().subnet().layers(1).mlp(), subnet.layers[1].mlp.bytes());
  EXPECT_EQ(task.evaluate().subnet().layers(0).attention_size(), 2);
  EXPECT_EQ(task.evaluate().first_sequence(), 4);
  EXPECT_EQ(task.evaluate().reformation().method(), "admm");
  EXPECT_EQ(task.evaluate().reformation().iterations(), 9);
  EXPECT_EQ(task.evaluate().reformation().calibration(), "c");
  work.subnet = nullptr;
  work.reformation.method = ReformationMethod::kProjected;
  action.work = work;
  EXPECT_EQ(TaskMessage(action).task().evaluate().subnet().layers_size(), 0);
  EXPECT_EQ(TaskMessage(action).task().evaluate().reformation().method(), "projected");
}

TEST(MessagesTest, ACalibrationSaysWhichScores) {
  SendTask action;
  for (const ScoreKind kind : {ScoreKind::kImportance, ScoreKind::kMagnitude, ScoreKind::kWanda,
                               ScoreKind::kFluctuation}) {
    action.work = CalibrateWork{.data_set = "d", .damping = 0.01, .scores = kind};
    const v1::Task task = TaskMessage(action).task();
    EXPECT_EQ(*ScoreKindFromMessage(task.calibrate().scores()), kind);
  }
  EXPECT_EQ(ScoreKindFromMessage(static_cast<v1::ScoreKind>(77)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(MessagesTest, AStageIsSentItsOwnMasksButForTheExport) {
  Subnet subnet = Subnet::Dense(testing_fakes::TinyConfig());
  subnet.layers[1].mlp.Set(9, false);
  SendTask action;
  action.stage = {1, 1};
  EvaluateWork work;
  work.subnet = std::make_shared<const Subnet>(subnet);
  action.work = work;
  const v1::Task evaluate = TaskMessage(action).task();
  EXPECT_EQ(evaluate.model().first_layer(), 1);
  EXPECT_EQ(evaluate.model().layers(), 1);
  ASSERT_EQ(evaluate.evaluate().subnet().layers_size(), 1);
  EXPECT_EQ(evaluate.evaluate().subnet().layers(0).mlp(), subnet.layers[1].mlp.bytes());
  action.work = ExportWork{
      .subnet = std::make_shared<const Subnet>(subnet), .reformation = {}, .calibration = {}};
  EXPECT_EQ(TaskMessage(action).task().export_().subnet().layers_size(), 2);
}

TEST(MessagesTest, WhatALoadFoundGoesThereAndBack) {
  const LoadResult result{.digest = {.description = "d", .tensors = {{"a", "1"}, {"b", "2"}}},
                          .weight_bytes = 12};
  v1::TaskResult message;
  WriteOutcome(result, &message);
  const auto back = std::get<LoadResult>(OutcomeFromMessage(message));
  EXPECT_EQ(back.digest, result.digest);
  EXPECT_EQ(back.weight_bytes, 12);
}

TEST(MessagesTest, AnErrorAndAnEmptyAnswerBecomeAStatus) {
  v1::TaskResult result;
  EXPECT_EQ(ResultFromMessage(1, result).status.code(), absl::StatusCode::kInvalidArgument);
  result.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  result.mutable_error()->set_message("out of memory");
  const TaskFinished event = ResultFromMessage(1, result);
  EXPECT_EQ(event.status, absl::ResourceExhaustedError("out of memory"));
}

TEST(MessagesTest, NamesThatAreNotUtf8DoNotSpoilAMessage) {
  JobSpec spec = testing_fakes::TinySpec(1, "/results/\xff");
  JobView view;
  view.id = 1;
  view.spec = std::make_shared<const JobSpec>(spec);
  view.error = "no \xfe file";
  const v1::Job job = JobMessage(view, 0);
  EXPECT_EQ(job.output(), "/results/?");
  EXPECT_EQ(job.error(), "no ? file");
  v1::Job copy;
  EXPECT_TRUE(copy.ParseFromString(job.SerializeAsString()));
}

}  // namespace
}  // namespace espalier
