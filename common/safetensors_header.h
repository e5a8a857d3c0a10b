// The header of a safetensors file, parsed and checked; used by safetensors.cc only.
//
// Format: https://github.com/huggingface/safetensors, README, section "Format".
#ifndef ESPALIER_COMMON_SAFETENSORS_HEADER_H_
#define ESPALIER_COMMON_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace espalier {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as written, known or not
  std::vector<int64_t> shape;
  std::string_view bytes;  // of the file
};

struct SafetensorsContents {
  std::vector<SafetensorsEntry> entries;  // in file order
  std::map<std::string, std::string> metadata;
};

// `file` is the whole file, `source` its name for errors. INVALID_ARGUMENT, naming the tensor,
// unless the tensors tile the bytes after the header exactly and have the sizes that their shapes
// and types say.
absl::StatusOr<SafetensorsContents> ParseSafetensors(std::string_view file,
                                                     const std::string& source);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SAFETENSORS_HEADER_H_
