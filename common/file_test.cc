#include "common/file.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / (std::string("file_test_") + info->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~FileTest() override { fs::remove_all(root_); }

  void Write(const fs::path& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  int Entries() const { return static_cast<int>(std::distance(fs::directory_iterator(root_), {})); }

  fs::path root_;
};

TEST_F(FileTest, ReadsWhatIsThere) {
  const std::string text = std::string("a\0b\n", 4) + std::string(100000, 'x');
  Write(root_ / "f", text);
  const auto read = ReadFile(root_ / "f");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, text);
}

// Files of /proc say that they are empty.
TEST_F(FileTest, ReadsFilesThatDoNotKnowTheirSize) {
  const auto read = ReadFile("/proc/self/status");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(*read, AllOf(HasSubstr("Name:"), HasSubstr("nonvoluntary_ctxt_switches:")));
}

TEST_F(FileTest, ReadErrorsNameThePathAndTheReason) {
  const auto missing = ReadFile(root_ / "none");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(),
              AllOf(HasSubstr((root_ / "none").string()), HasSubstr("No such file")));
  EXPECT_THAT(ReadFile(root_).status().message(), HasSubstr("Is a directory"));
}

TEST_F(FileTest, WritesAtomically) {
  ASSERT_TRUE(WriteFileAtomically(root_ / "f", "old").ok());
  ASSERT_TRUE(WriteFileAtomically(root_ / "f", "new").ok());
  EXPECT_EQ(*ReadFile(root_ / "f"), "new");
  EXPECT_EQ(Entries(), 1);
}

TEST_F(FileTest, AFailedAtomicWriteLeavesNothing) {
  fs::create_directory(root_ / "folder");
  Write(root_ / "folder" / "f", "x");
  EXPECT_FALSE(WriteFileAtomically(root_ / "folder", "text").ok());
  EXPECT_EQ(Entries(), 1);
  EXPECT_EQ(WriteFileAtomically(root_ / "none" / "f", "text").code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, MapsAFile) {
  Write(root_ / "f", "mapped");
  const auto file = MappedFile::Open(root_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->bytes(), "mapped");
  EXPECT_EQ((*file)->path(), root_ / "f");
}

TEST_F(FileTest, MapsAnEmptyFile) {
  Write(root_ / "f", "");
  const auto file = MappedFile::Open(root_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->bytes().empty());
}

TEST_F(FileTest, MapErrorsNameThePath) {
  EXPECT_EQ(MappedFile::Open(root_ / "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(root_).status(),
            absl::InvalidArgumentError(root_.string() + " is not a regular file"));
}

TEST_F(FileTest, WriterAppends) {
  auto writer = FileWriter::Create(root_ / "f");
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE((*writer)->Append("one ").ok());
  EXPECT_TRUE((*writer)->Append("").ok());
  EXPECT_TRUE((*writer)->Append("two").ok());
  EXPECT_TRUE((*writer)->Close().ok());
  EXPECT_EQ(*ReadFile(root_ / "f"), "one two");
}

TEST_F(FileTest, AFullDiskIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  auto writer = FileWriter::Create("/dev/full");
  ASSERT_TRUE(writer.ok()) << writer.status();
  const absl::Status status = (*writer)->Append("text");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("/dev/full"), HasSubstr("free some space")));
}

TEST_F(FileTest, StagedFolderAppearsOnCommitOnly) {
  auto staged = StagedDirectory::Create(root_ / "new" / "out");
  ASSERT_TRUE(staged.ok()) << staged.status();
  fs::create_directory((*staged)->staging() / "inner");
  Write((*staged)->staging() / "inner" / "f", "x");
  EXPECT_FALSE(fs::exists(root_ / "new" / "out"));
  ASSERT_TRUE((*staged)->Commit().ok());
  EXPECT_EQ(*ReadFile(root_ / "new" / "out" / "inner" / "f"), "x");
  staged->reset();
  EXPECT_TRUE(fs::exists(root_ / "new" / "out"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "new"), {}), 1);
}

TEST_F(FileTest, StagedFolderGoesWithoutCommit) {
  {
    auto staged = StagedDirectory::Create(root_ / "out");
    ASSERT_TRUE(staged.ok()) << staged.status();
    Write((*staged)->staging() / "f", "x");
    EXPECT_EQ((*staged)->staging().parent_path(), fs::canonical(root_));
    EXPECT_THAT((*staged)->staging().filename().string(),
                ::testing::StartsWith(".out.partial-" + std::to_string(getpid()) + "-"));
  }
  EXPECT_EQ(Entries(), 0);
}

TEST_F(FileTest, StagedFolderReplacesAnEmptyOne) {
  fs::create_directory(root_ / "out");
  fs::create_directory_symlink(root_ / "out", root_ / "link");
  auto staged = StagedDirectory::Create((root_ / "link").string() + "/");
  ASSERT_TRUE(staged.ok()) << staged.status();
  Write((*staged)->staging() / "f", "x");
  ASSERT_TRUE((*staged)->Commit().ok());
  EXPECT_EQ(*ReadFile(root_ / "out" / "f"), "x");
}

TEST_F(FileTest, StagedFolderRefusesWhatExists) {
  fs::create_directory(root_ / "out");
  Write(root_ / "out" / "f", "precious");
  const auto staged = StagedDirectory::Create(root_ / "out");
  EXPECT_EQ(staged.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(staged.status().message(), HasSubstr("out exists already"));
  EXPECT_EQ(StagedDirectory::Create(root_ / "out" / "f").status().code(),
            absl::StatusCode::kAlreadyExists);
  fs::create_symlink(root_ / "nowhere", root_ / "dangling");
  EXPECT_EQ(StagedDirectory::Create(root_ / "dangling").status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(FileTest, CommitSparesWhatAppearedMeanwhile) {
  auto staged = StagedDirectory::Create(root_ / "out");
  ASSERT_TRUE(staged.ok()) << staged.status();
  fs::create_directory(root_ / "out");
  Write(root_ / "out" / "f", "precious");
  EXPECT_EQ((*staged)->Commit().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadFile(root_ / "out" / "f"), "precious");
  staged->reset();
  EXPECT_EQ(Entries(), 1);
}

TEST_F(FileTest, StagedFolderNeedsAWritableParent) {
  Write(root_ / "file", "x");
  const auto inside_file = StagedDirectory::Create(root_ / "file" / "out");
  EXPECT_EQ(inside_file.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(inside_file.status().message(), HasSubstr("Not a directory"));
}

TEST_F(FileTest, StagedFolderNeedsPermission) {
  fs::permissions(root_, fs::perms::owner_read | fs::perms::owner_exec);
  const uid_t user = geteuid();
  constexpr uid_t kNobody = 65534;
  // Permissions do not bind root.
  if (user == 0) {
    ASSERT_EQ(seteuid(kNobody), 0);
  }
  const auto staged = StagedDirectory::Create(root_ / "out");
  if (user == 0) {
    ASSERT_EQ(seteuid(user), 0);
  }
  fs::permissions(root_, fs::perms::owner_all);
  EXPECT_EQ(staged.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(staged.status().message(), HasSubstr("check who owns it"));
}

}  // namespace
}  // namespace espalier
