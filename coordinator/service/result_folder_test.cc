#include "coordinator/service/result_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/model_folder.h"
#include "coordinator/service/testing/tiny_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ResultFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = MakeTinyFolder(::testing::UnitTest::GetInstance()->current_test_info()->name());
    auto folder = ResultFolder::Create(base_ / "result");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = *std::move(folder);
    config_ = *ReadModelConfig(base_ / "model");
    subnet_ = std::make_shared<const Subnet>(Subnet::Dense(config_));
  }

  void Upload(TaskId task, const std::string& name, const std::string& bytes) {
    auto file = folder_->CreateArtifact(task, name);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(0, bytes).ok());
    ASSERT_TRUE((*file)->Close(Sha256Hex(bytes)).ok());
  }
  void UploadModel(TaskId task) {
    Upload(task, "compact/config.json",
           *CompactConfigJson(*ReadFile(base_ / "model" / "config.json"), config_, *subnet_,
                              DType::kFloat32));
    Upload(task, "compact/model.safetensors.part-0", ZeroSafetensors(config_, *subnet_));
  }
  FinishOutput Order(TaskId task) {
    return {.job = 1,
            .task = task,
            .subnet = subnet_,
            .files = {{.name = "report.json", .contents = "{}"},
                      {.name = "subnet.json", .contents = "{}"}}};
  }

  fs::path base_;
  std::shared_ptr<ResultFolder> folder_;
  ModelConfig config_;
  std::shared_ptr<const Subnet> subnet_;
};

TEST_F(ResultFolderTest, IsThereOnlyWhenItIsWhole) {
  ASSERT_TRUE(folder_->AppendPopulation("", "one\n").ok());
  ASSERT_TRUE(folder_->AppendPopulation("", "two\n").ok());
  UploadModel(5);
  EXPECT_FALSE(fs::exists(base_ / "result"));
  const absl::Status status = folder_->Finish(Order(5));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(base_ / "result" / "population.jsonl"), "one\ntwo\n");
  EXPECT_TRUE(fs::exists(base_ / "result" / "padded" / "model.safetensors"));
}

TEST_F(ResultFolderTest, PartsOfStagesAreJoinedInTheirOrder) {
  UploadModel(4);
  const std::string whole = ZeroSafetensors(config_, *subnet_);
  UploadModel(5);
  Upload(5, "compact/model.safetensors.part-1", whole.substr(100, 300));
  Upload(5, "compact/model.safetensors.part-0", whole.substr(0, 100));
  Upload(5, "compact/model.safetensors.part-2", whole.substr(400));
  const absl::Status status = folder_->Finish(Order(5));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(base_ / "result/compact/model.safetensors"), whole);
  EXPECT_FALSE(fs::exists(base_ / "result/compact/model.safetensors.part-1"));
}

TEST_F(ResultFolderTest, AMissingPartIsRefused) {
  const std::string whole = ZeroSafetensors(config_, *subnet_);
  UploadModel(5);
  Upload(5, "compact/model.safetensors.part-0", whole.substr(0, 400));
  Upload(5, "compact/model.safetensors.part-2", whole.substr(400));
  EXPECT_FALSE(folder_->Finish(Order(5)).ok());
  folder_.reset();
  EXPECT_FALSE(fs::exists(base_ / "result"));
}

TEST_F(ResultFolderTest, FilesOfAnotherAttemptDoNotMix) {
  Upload(4, "compact/model.safetensors.part-0", "half of it, then the worker was lost");
  Upload(4, "compact/leftover.json", "{}");
  UploadModel(5);
  ASSERT_TRUE(folder_->Finish(Order(5)).ok());
  EXPECT_FALSE(fs::exists(base_ / "result" / "compact" / "leftover.json"));
  EXPECT_TRUE(OpenModelFolder(base_ / "result" / "compact").ok());
}

TEST_F(ResultFolderTest, ATruncatedModelIsRefusedByName) {
  Upload(5, "compact/config.json",
         *CompactConfigJson(*ReadFile(base_ / "model" / "config.json"), config_, *subnet_,
                            DType::kFloat32));
  std::string bytes = ZeroSafetensors(config_, *subnet_);
  bytes.pop_back();
  Upload(5, "compact/model.safetensors.part-0", bytes);
  const absl::Status status = folder_->Finish(Order(5));
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors"));
  folder_.reset();
  EXPECT_FALSE(fs::exists(base_ / "result"));
}

TEST_F(ResultFolderTest, NothingIsTakenAfterTheEnd) {
  UploadModel(5);
  ASSERT_TRUE(folder_->Finish(Order(5)).ok());
  EXPECT_EQ(folder_->CreateArtifact(5, "compact/late.json").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// A job with two sizes.
TEST_F(ResultFolderTest, PartsAreThereAsEachIsWhole) {
  const auto order = [&](TaskId task, const std::string& part, const std::string& summary) {
    FinishOutput finish = Order(task);
    finish.part = part;
    finish.summary = {{.name = "sizes.csv", .contents = summary}};
    return finish;
  };
  ASSERT_TRUE(folder_->AppendPopulation("0.9", "one\n").ok());
  UploadModel(5);
  EXPECT_FALSE(fs::exists(base_ / "result"));
  absl::Status status = folder_->Finish(order(5, "0.9", "first"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(base_ / "result/0.9/population.jsonl"), "one\n");
  EXPECT_TRUE(fs::exists(base_ / "result/0.9/padded/model.safetensors"));
  EXPECT_EQ(*ReadFile(base_ / "result/sizes.csv"), "first");

  ASSERT_TRUE(folder_->AppendPopulation("0.8", "two\n").ok());
  ASSERT_TRUE(folder_->AppendPopulation("0.8", "three\n").ok());
  UploadModel(6);
  status = folder_->Finish(order(6, "0.8", "both"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*ReadFile(base_ / "result/0.8/population.jsonl"), "two\nthree\n");
  EXPECT_EQ(*ReadFile(base_ / "result/sizes.csv"), "both");
  folder_.reset();
  EXPECT_TRUE(OpenModelFolder(base_ / "result/0.9/compact").ok());

  // A coordinator that died right after makes the last one again, and finds it.
  const auto again = ResultFolder::CreateAgain(base_ / "result", base_ / ".x.partial-1", {});
  ASSERT_TRUE(again.ok()) << again.status();
  folder_ = *again;
  ASSERT_TRUE(folder_->AppendPopulation("0.8", "two\nthree\n").ok());
  UploadModel(7);
  status = folder_->Finish(order(7, "0.8", "both"));
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ResultFolderTest, AnAbandonedOneIsNotCommitted) {
  UploadModel(5);
  folder_->Abandon();
  EXPECT_EQ(folder_->Finish(Order(5)).code(), absl::StatusCode::kCancelled);
  folder_.reset();
  EXPECT_THAT(fs::exists(base_ / "result"), false);
}

}  // namespace
}  // namespace espalier
