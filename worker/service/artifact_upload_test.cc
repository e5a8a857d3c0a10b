#include "worker/service/artifact_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "common/sha256.h"
#include "worker/service/coordinator_channel.h"
#include "worker/service/testing/scripted_coordinator.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

class ArtifactUploadTest : public ::testing::Test {
 protected:
  ArtifactUploadTest() {
    task_.set_id(9);
    task_.set_epoch(4);
    task_.set_job_id("job-2");
  }
  // Appends `pieces` and closes.
  absl::Status Upload(const std::string& name, const std::vector<std::string>& pieces) {
    auto writer = uploader_.Create(task_, name, &control_);
    if (!writer.ok()) return writer.status();
    for (const std::string& piece : pieces) {
      const absl::Status status = (*writer)->Append(piece);
      if (!status.ok()) return status;
    }
    return (*writer)->Close();
  }

  ScriptedCoordinator coordinator_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_ =
      v1::WorkerService::NewStub(MakeCoordinatorChannel(coordinator_.address()));
  ArtifactUploader uploader_{stub_.get()};
  TaskControl control_;
  v1::Task task_;
};

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
  return bytes;
}

TEST_F(ArtifactUploadTest, SendsChunksOfAtMostTheirSize) {
  const std::string big = Pattern(2 * kArtifactChunkBytes + 17);
  ASSERT_EQ(Upload("compact/big", {big, "tail"}), absl::OkStatus());
  ASSERT_EQ(coordinator_.files().count("compact/big"), 1u);
  const ScriptedCoordinator::File file = coordinator_.files()["compact/big"];
  EXPECT_EQ(file.bytes, big + "tail");
  EXPECT_EQ(file.sha256, Sha256Hex(big + "tail"));
  EXPECT_EQ(file.chunks, 3u);
  EXPECT_EQ(file.largest_chunk, kArtifactChunkBytes);
  EXPECT_EQ(file.job_id, "job-2");
  EXPECT_EQ(file.task_id, 9u);
  EXPECT_TRUE(file.offsets_are_right);
  EXPECT_TRUE(file.named_only_on_first_chunk);
}

TEST_F(ArtifactUploadTest, WholeChunksAndEmptyFilesHaveALastChunkToo) {
  const std::string whole = Pattern(kArtifactChunkBytes);
  ASSERT_EQ(Upload("whole", {whole}), absl::OkStatus());
  EXPECT_EQ(coordinator_.files()["whole"].chunks, 1u);
  EXPECT_EQ(coordinator_.files()["whole"].sha256, Sha256Hex(whole));
  ASSERT_EQ(Upload("empty", {}), absl::OkStatus());
  EXPECT_EQ(coordinator_.files()["empty"].chunks, 1u);
  EXPECT_EQ(coordinator_.files()["empty"].sha256, Sha256Hex(""));
}

TEST_F(ArtifactUploadTest, RefusalComesBackWithTheFilesName) {
  coordinator_.RefuseUploads(absl::ResourceExhaustedError("disk full"));
  const absl::Status status = Upload("compact/big", {Pattern(3 * kArtifactChunkBytes)});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("compact/big"));
  EXPECT_THAT(status.message(), HasSubstr("disk full"));
}

TEST_F(ArtifactUploadTest, CancelEndsAnUploadThatIsHeldBack) {
  coordinator_.StallUploads();
  std::atomic<bool> sending = false;
  std::thread canceller([&] {
    while (!sending) std::this_thread::yield();
    control_.Cancel();
  });
  auto writer = uploader_.Create(task_, "endless", &control_);
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::string piece = Pattern(kArtifactChunkBytes);
  absl::Status status;
  for (int i = 0; i < 4096 && status.ok(); ++i) {  // far more than any window
    status = (*writer)->Append(piece);
    if (i == 2) sending = true;
  }
  canceller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ArtifactUploadTest, AbandonedFileIsNotMarkedComplete) {
  {
    auto writer = uploader_.Create(task_, "half", &control_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Append(Pattern(2 * kArtifactChunkBytes)).ok());
  }
  coordinator_.Shutdown();  // waits for the call's end on the server
  for (const auto& [name, file] : coordinator_.files()) EXPECT_EQ(file.sha256, "") << name;
}

}  // namespace
}  // namespace espalier
