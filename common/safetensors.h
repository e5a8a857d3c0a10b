// The safetensors format: an 8-byte little-endian header length, a JSON header, tensor bytes.
//
// Reading maps the files and validates every header against its file before any tensor is handed
// out: truncation, overlap, gaps, overflow, absurd sizes, unknown types, duplicate names.
#ifndef ESPALIER_COMMON_SAFETENSORS_H_
#define ESPALIER_COMMON_SAFETENSORS_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
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
  std::string_view bytes;  // row-major; valid while the SafetensorsReader lives
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
  // NOT_FOUND naming the tensor and the folder; INVALID_ARGUMENT, giving both shapes, when the
  // tensor's shape is not `shape`.
  absl::StatusOr<TensorView> Get(std::string_view name, const std::vector<int64_t>& shape) const;
  absl::StatusOr<TensorView> Get(std::string_view name) const;  // any shape
  std::vector<std::string> Names() const;                       // sorted
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  SafetensorsReader() = default;
  absl::Status AddFile(const std::filesystem::path& file);

  std::filesystem::path source_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// The length word and header of a file that holds `tensors` in this order, without gaps. Their
// bytes follow in the same order.
std::string SafetensorsHeader(const std::vector<TensorSpec>& tensors,
                              const std::map<std::string, std::string>& metadata);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SAFETENSORS_H_
