// The result folder of one job while it is written: the staged directory, the population log, what
// workers upload, and the commit.
#ifndef ESPALIER_COORDINATOR_SERVICE_RESULT_FOLDER_H_
#define ESPALIER_COORDINATOR_SERVICE_RESULT_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file.h"
#include "common/mutex.h"
#include "common/path_roots.h"
#include "common/sha256.h"
#include "coordinator/jobs/actions.h"

namespace espalier {

// One file of one export attempt, front to back. Has its name only once it is whole; one that is
// not closed well leaves nothing. Not thread-safe.
class ArtifactFile {
 public:
  // Writes to `partial`, which Close renames to `path`; both on one file system.
  static absl::StatusOr<std::unique_ptr<ArtifactFile>> Create(std::filesystem::path partial,
                                                              std::filesystem::path path);
  ~ArtifactFile();

  // INVALID_ARGUMENT unless `offset` is where the last chunk ended.
  absl::Status Append(int64_t offset, std::string_view bytes);
  // DATA_LOSS unless all bytes have the hash `sha256`.
  absl::Status Close(const std::string& sha256);
  int64_t size() const { return size_; }

 private:
  ArtifactFile(std::filesystem::path partial, std::filesystem::path path,
               std::unique_ptr<FileWriter> writer);

  const std::filesystem::path partial_;
  const std::filesystem::path path_;
  const std::unique_ptr<FileWriter> writer_;
  Sha256 hash_;
  int64_t size_ = 0;
};

// Thread-safe.
class ResultFolder {
 public:
  // As StagedDirectory::Create: fails now if the target is taken or its parent cannot be written.
  // PERMISSION_DENIED when it does not lie below `roots`.
  static absl::StatusOr<std::shared_ptr<ResultFolder>> Create(const std::filesystem::path& target,
                                                              const PathRoots& roots = {});

  // For a job of an earlier coordinator, whose population log is written again from its beginning.
  // `abandoned` is where that coordinator built the result; it is removed.
  static absl::StatusOr<std::shared_ptr<ResultFolder>> CreateAgain(
      const std::filesystem::path& target, const std::filesystem::path& abandoned,
      const PathRoots& roots);
  std::string staging() const { return directory_->staging().string(); }

  // `part` as in FinishOutput.
  absl::Status AppendPopulation(const std::string& part, std::string_view lines);

  // A file of the export attempt `task`. Each attempt has a place of its own, so that a stale one
  // cannot spoil another. INVALID_ARGUMENT unless `name` is compact/<plain file name>.
  absl::StatusOr<std::unique_ptr<ArtifactFile>> CreateArtifact(TaskId task,
                                                               const std::string& name);

  // Takes the compact model of that attempt, checks it, makes the padded copy, writes the files in
  // their order, and commits: the whole folder, after which nothing more can be uploaded, or that
  // part of it, and then the summary. CANCELLED after Abandon. OK, too, when the target holds this
  // very result already, of a coordinator that died right after.
  absl::Status Finish(const FinishOutput& order);

  // Unless the commit has begun, there will be none. Does not wait for any disk.
  void Abandon();

 private:
  explicit ResultFolder(std::unique_ptr<StagedDirectory> directory);
  std::filesystem::path UploadPath(TaskId task) const;
  static absl::StatusOr<std::shared_ptr<ResultFolder>> Wrap(
      std::unique_ptr<StagedDirectory> directory);
  absl::Status Seal(const FinishOutput& order);
  absl::Status Commit(const FinishOutput& order);
  bool IsThere(const FinishOutput& order) const;

  const std::unique_ptr<StagedDirectory> directory_;
  Mutex mutex_;
  std::unique_ptr<FileWriter> population_ ABSL_GUARDED_BY(mutex_);
  std::string population_part_ ABSL_GUARDED_BY(mutex_);  // whose log that is
  bool sealed_ ABSL_GUARDED_BY(mutex_) = false;          // no uploads any more
  int64_t uploads_ ABSL_GUARDED_BY(mutex_) = 0;          // begun so far
  Mutex commit_mutex_;
  bool abandoned_ ABSL_GUARDED_BY(commit_mutex_) = false;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_RESULT_FOLDER_H_
