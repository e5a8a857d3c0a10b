#include "coordinator/service/result_folder.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/model_folder.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr char kUploads[] = ".uploads";

bool IsPlainCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

absl::Status CheckArtifactName(const std::string& name) {
  absl::string_view file = name;
  if (absl::ConsumePrefix(&file, "compact/") && !file.empty() && file.front() != '.' &&
      std::all_of(file.begin(), file.end(), IsPlainCharacter)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("artifact name \"", name, "\": expected compact/ and a plain file name"));
}

absl::Status FileError(const std::error_code& error, const char* what, const fs::path& path) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", path.string(), ": ", error.message()));
}

absl::Status CheckCompact(const fs::path& compact, const Subnet& expected) {
  ESPALIER_ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(compact));
  if (folder.masks.has_value() && *folder.masks == expected) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(compact.string(), ": the worker exported another subnet than it was told to"));
}

// The stages of a replica upload a part each; put together in their order they are the file.
absl::Status JoinParts(const fs::path& compact) {
  const fs::path file = compact / "model.safetensors";
  const auto part = [&](int stage) {
    return compact / absl::StrCat("model.safetensors.part-", stage);
  };
  std::error_code error;
  if (!fs::exists(part(1), error)) {
    fs::rename(part(0), file, error);
    return error ? FileError(error, "take the uploaded", part(0)) : absl::OkStatus();
  }
  ESPALIER_ASSIGN_OR_RETURN(const std::unique_ptr<FileWriter> writer, FileWriter::Create(file));
  for (int stage = 0; fs::exists(part(stage), error); ++stage) {
    ESPALIER_ASSIGN_OR_RETURN(const auto map, MappedFile::Open(part(stage)));
    ESPALIER_RETURN_IF_ERROR(writer->Append(map->bytes()));
    fs::remove(part(stage), error);
    if (error) return FileError(error, "remove", part(stage));
  }
  return writer->Close();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArtifactFile>> ArtifactFile::Create(fs::path partial,
                                                                   fs::path path) {
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> writer, FileWriter::Create(partial));
  return std::unique_ptr<ArtifactFile>(
      new ArtifactFile(std::move(partial), std::move(path), std::move(writer)));
}

ArtifactFile::ArtifactFile(fs::path partial, fs::path path, std::unique_ptr<FileWriter> writer)
    : partial_(std::move(partial)), path_(std::move(path)), writer_(std::move(writer)) {}

ArtifactFile::~ArtifactFile() {
  std::error_code ignored;  // after a good end there is nothing under this name
  fs::remove(partial_, ignored);
}

absl::Status ArtifactFile::Append(int64_t offset, std::string_view bytes) {
  if (offset != size_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a chunk for offset ", offset, " came where offset ", size_, " was due"));
  }
  ESPALIER_RETURN_IF_ERROR(writer_->Append(bytes));
  hash_.Update(bytes);
  size_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::Status ArtifactFile::Close(const std::string& sha256) {
  const std::string actual = hash_.HexDigest();
  if (actual != sha256) {
    return absl::DataLossError(
        absl::StrCat("the file has SHA-256 ", actual, " here, but the sender says ", sha256));
  }
  ESPALIER_RETURN_IF_ERROR(writer_->Close());
  std::error_code error;
  fs::rename(partial_, path_, error);
  if (error) return FileError(error, "take the uploaded", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ResultFolder>> ResultFolder::Create(const fs::path& target,
                                                                   const PathRoots& roots) {
  ESPALIER_ASSIGN_OR_RETURN(const fs::path allowed, roots.Check(target));
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<StagedDirectory> directory,
                            StagedDirectory::Create(allowed));
  return Wrap(std::move(directory));
}

absl::StatusOr<std::shared_ptr<ResultFolder>> ResultFolder::CreateAgain(const fs::path& target,
                                                                        const fs::path& abandoned,
                                                                        const PathRoots& roots) {
  ESPALIER_ASSIGN_OR_RETURN(const fs::path allowed, roots.Check(target));
  StagedDirectory::RemoveAbandoned(abandoned);
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<StagedDirectory> directory,
                            StagedDirectory::CreateAgain(allowed));
  return Wrap(std::move(directory));
}

absl::StatusOr<std::shared_ptr<ResultFolder>> ResultFolder::Wrap(
    std::unique_ptr<StagedDirectory> directory) {
  ESPALIER_ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> population,
                            FileWriter::Create(directory->staging() / "population.jsonl"));
  std::shared_ptr<ResultFolder> folder(new ResultFolder(std::move(directory)));
  MutexLock lock(&folder->mutex_);
  folder->population_ = std::move(population);
  return folder;
}

ResultFolder::ResultFolder(std::unique_ptr<StagedDirectory> directory)
    : directory_(std::move(directory)) {}

absl::Status ResultFolder::AppendPopulation(const std::string& part, std::string_view lines) {
  MutexLock lock(&mutex_);
  if (part != population_part_) {
    const fs::path folder = directory_->staging() / part;
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return FileError(error, "create", folder);
    ESPALIER_ASSIGN_OR_RETURN(population_, FileWriter::Create(folder / "population.jsonl"));
    population_part_ = part;
  }
  return population_->Append(lines);
}

fs::path ResultFolder::UploadPath(TaskId task) const {
  return directory_->staging() / kUploads / std::to_string(task);
}

absl::StatusOr<std::unique_ptr<ArtifactFile>> ResultFolder::CreateArtifact(
    TaskId task, const std::string& name) {
  ESPALIER_RETURN_IF_ERROR(CheckArtifactName(name));
  MutexLock lock(&mutex_);
  if (sealed_) return absl::FailedPreconditionError("this job's result is complete already");
  const fs::path path = UploadPath(task) / name;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return FileError(error, "create", path.parent_path());
  // Two streams may bring the same file, the older one of a worker that lost its connection.
  const fs::path partial = directory_->staging() / kUploads / absl::StrCat("partial-", ++uploads_);
  return ArtifactFile::Create(partial, path);
}

absl::Status ResultFolder::Seal(const FinishOutput& order) {
  MutexLock lock(&mutex_);
  if (sealed_) return absl::InternalError("the result was finished twice");
  sealed_ = order.part.empty();
  ESPALIER_RETURN_IF_ERROR(population_->Close());
  const fs::path compact = directory_->staging() / order.part / "compact";
  std::error_code error;
  fs::rename(UploadPath(order.task) / "compact", compact, error);
  if (error) return FileError(error, "take the uploaded", compact);
  fs::remove_all(directory_->staging() / kUploads, error);
  if (error) return FileError(error, "remove", directory_->staging() / kUploads);
  return absl::OkStatus();
}

absl::Status ResultFolder::Finish(const FinishOutput& order) {
  ESPALIER_RETURN_IF_ERROR(Seal(order));
  const fs::path staging = directory_->staging() / order.part;
  ESPALIER_RETURN_IF_ERROR(JoinParts(staging / "compact"));
  ESPALIER_RETURN_IF_ERROR(CheckCompact(staging / "compact", *order.subnet));
  ESPALIER_RETURN_IF_ERROR(WritePadded(staging / "compact", staging / "padded"));
  for (const FinishOutput::File& file : order.files) {
    ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(staging / file.name, file.contents));
  }
  {
    MutexLock lock(&commit_mutex_);
    if (abandoned_) return absl::CancelledError("the job was cancelled");
  }
  absl::Status committed = Commit(order);
  if (absl::IsAlreadyExists(committed) && IsThere(order)) committed = absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(committed);
  for (const FinishOutput::File& file : order.summary) {
    ESPALIER_RETURN_IF_ERROR(WriteFileAtomically(directory_->target() / file.name, file.contents));
  }
  return absl::OkStatus();
}

absl::Status ResultFolder::Commit(const FinishOutput& order) {
  return order.part.empty() ? directory_->Commit() : directory_->CommitPart(order.part);
}

bool ResultFolder::IsThere(const FinishOutput& order) const {
  // The last file is the index; it names all that the result depends on.
  const FinishOutput::File& index = order.files.back();
  const absl::StatusOr<std::string> there =
      ReadFile(directory_->target() / order.part / index.name);
  return there.ok() && *there == index.contents;
}

void ResultFolder::Abandon() {
  MutexLock lock(&commit_mutex_);
  abandoned_ = true;
}

}  // namespace espalier
