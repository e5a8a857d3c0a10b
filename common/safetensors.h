// The safetensors format: an 8-byte little-endian header length, a JSON header, tensor bytes.
//
// Reading maps the files and validates every header against its file before any tensor is handed
// out: truncation, overlap, gaps, overflow, absurd sizes, duplicate names. Tensors of other types
// than DType's may be in the file, but only as long as nobody asks for them.
#ifndef ESPALIER_COMMON_SAFETENSORS_H_
#define ESPALIER_COMMON_SAFETENSORS_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file.h"

namespace espalier {

enum class DType { kFloat32, kFloat16, kBFloat16 };
int64_t ItemSize(DType dtype);
std::string_view DTypeName(DType dtype);  // "F32", "F16", "BF16"

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;

  int64_t ByteSize() const;
};

struct TensorView {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  // Row-major, little-endian; valid while the SafetensorsReader lives. Writers need not align
  // tensors: read elements with memcpy unless the address is known to be aligned.
  std::string_view bytes;
};

// All tensors of a model folder. Thread-safe once open.
class SafetensorsReader {
 public:
  // Opens `directory`/model.safetensors.index.json and its shards if there is one, otherwise
  // `directory`/model.safetensors. Errors name the file and the tensor.
  static absl::StatusOr<std::unique_ptr<SafetensorsReader>> OpenModel(
      const std::filesystem::path& directory);
  static absl::StatusOr<std::unique_ptr<SafetensorsReader>> OpenFile(
      const std::filesystem::path& file);

  bool Contains(std::string_view name) const;
  // NOT_FOUND naming the tensor and the folder; UNIMPLEMENTED when its type is not one of DType's;
  // INVALID_ARGUMENT, giving both shapes, when the tensor's shape is not `shape`.
  absl::StatusOr<TensorView> Get(std::string_view name, const std::vector<int64_t>& shape) const;
  absl::StatusOr<TensorView> Get(std::string_view name) const;  // any shape
  std::vector<std::string> Names() const;                       // sorted
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // As MappedFile::ReleasePages, of all files.
  void ReleasePages() const {
    for (const auto& file : files_) file->ReleasePages();
  }

 private:
  struct Entry {
    TensorView view;
    std::string foreign_dtype;  // the name of a type that DType does not have, or empty
  };

  explicit SafetensorsReader(std::filesystem::path source) : source_(std::move(source)) {}
  // Adds all tensors of `file`, or only the wanted ones, which must be there.
  absl::Status AddFile(const std::filesystem::path& file, const std::set<std::string>* wanted);
  absl::Status AddShards(const std::filesystem::path& index);

  std::filesystem::path source_;  // as the user named it, for errors
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, Entry, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// The length word and header of a file that holds `tensors` in this order, without gaps. Their
// bytes follow in the same order.
std::string SafetensorsHeader(const std::vector<TensorSpec>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SAFETENSORS_H_
