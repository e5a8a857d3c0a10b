// Files, with errors that name the path and the system's reason.
#ifndef ESPALIER_COMMON_FILE_H_
#define ESPALIER_COMMON_FILE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier {

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

// Writes `path` under a temporary name, fsyncs and renames: it appears whole or not at all.
absl::Status WriteFileAtomically(const std::filesystem::path& path, std::string_view contents);

// A read-only memory map of a whole file. Thread-safe.
class MappedFile {
 public:
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Pages that were read leave the process's memory; they come back when they are read again.
  void ReleasePages() const;

 private:
  MappedFile(std::filesystem::path path, const char* data, size_t size);
  std::filesystem::path path_;
  const char* data_;
  size_t size_;
};

// A file that is written from front to back. Every error names the path.
class FileWriter {
 public:
  static absl::StatusOr<std::unique_ptr<FileWriter>> Create(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  absl::Status Append(std::string_view bytes);
  // fsync and close; the file is complete only when this returned OK.
  absl::Status Close();

 private:
  FileWriter(std::filesystem::path path, int fd);
  std::filesystem::path path_;
  int fd_;
};

// A folder that appears whole or not at all: files are written under `staging()`, next to the
// final path, and Commit renames the folder. Without Commit the destructor removes it.
class StagedDirectory {
 public:
  // ALREADY_EXISTS when `target` exists and is not an empty folder; PERMISSION_DENIED and the like
  // when its parent cannot be written. Missing parents are created.
  static absl::StatusOr<std::unique_ptr<StagedDirectory>> Create(
      const std::filesystem::path& target);
  // For a process that takes up what an earlier one began, and perhaps finished: does not look at
  // the target before Commit does.
  static absl::StatusOr<std::unique_ptr<StagedDirectory>> CreateAgain(
      const std::filesystem::path& target);
  // Removes what a process that died left at its `staging()`; nothing under another kind of name.
  static void RemoveAbandoned(const std::filesystem::path& staging);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  const std::filesystem::path& staging() const { return staging_; }
  const std::filesystem::path& target() const { return target_; }
  // Syncs all files to disk, then renames. ALREADY_EXISTS when something has appeared at the
  // target.
  absl::Status Commit();
  // Instead of Commit, for a target that grows: commits the folder `name` of staging() alone, into
  // the target, which is made if need be. ALREADY_EXISTS when something is there under this name.
  absl::Status CommitPart(const std::string& name);

 private:
  StagedDirectory(std::filesystem::path target, std::filesystem::path staging);
  std::filesystem::path target_;
  std::filesystem::path staging_;
  bool committed_ = false;
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_FILE_H_
