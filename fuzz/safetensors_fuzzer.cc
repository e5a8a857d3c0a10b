#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/safetensors.h"
#include "common/safetensors_header.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr char kSource[] = "folder/model.safetensors";

// A fuzzer rarely changes a header and its length together: this writes the length.
std::string FileOf(std::string_view header, std::string_view data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file.append(header).append(data);
}

// The tensors, one after the other, are the end of the file.
absl::Status CheckTiling(const SafetensorsContents& contents, std::string_view file) {
  size_t left = 0;
  for (const SafetensorsEntry& entry : contents.entries) left += entry.bytes.size();
  ESPALIER_RETURN_IF_ERROR(Require(left + 8 <= file.size(), "tensors lie behind the header"));
  const char* end = file.data() + (file.size() - left);
  for (const SafetensorsEntry& entry : contents.entries) {
    ESPALIER_RETURN_IF_ERROR(Require(entry.bytes.data() == end, "tensors tile the data"));
    end += entry.bytes.size();
  }
  return Require(end == file.data() + file.size(), "the last tensor ends with the file");
}

// As the writer would describe them; none when it knows one of the types not.
std::optional<std::vector<TensorSpec>> SpecsOf(const SafetensorsContents& contents) {
  std::vector<TensorSpec> specs;
  for (const SafetensorsEntry& entry : contents.entries) {
    TensorSpec spec{.name = entry.name, .shape = entry.shape};
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      if (DTypeName(dtype) == entry.dtype) spec.dtype = dtype;
    }
    if (DTypeName(spec.dtype) != entry.dtype) return std::nullopt;
    specs.push_back(std::move(spec));
  }
  return specs;
}

absl::Status CheckWrittenAgain(const SafetensorsContents& contents) {
  const auto specs = SpecsOf(contents);
  if (!specs) return absl::OkStatus();
  std::string file = SafetensorsHeader(*specs, contents.metadata);
  for (const SafetensorsEntry& entry : contents.entries) file.append(entry.bytes);
  const absl::StatusOr<SafetensorsContents> again = ParseSafetensors(file, kSource);
  if (!again.ok()) return again.status();
  bool same =
      again->metadata == contents.metadata && again->entries.size() == contents.entries.size();
  for (size_t i = 0; same && i < contents.entries.size(); ++i) {
    const SafetensorsEntry& a = contents.entries[i];
    // Tensors without bytes may come in any order: it is found by name.
    for (const SafetensorsEntry& b : again->entries) {
      if (a.name != b.name) continue;
      same = a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
    }
  }
  return Require(same, "what was read is written and read back the same");
}

absl::Status CheckFile(std::string_view file) {
  const absl::StatusOr<SafetensorsContents> contents = ParseSafetensors(file, kSource);
  if (!contents.ok()) return RequireNames(contents.status(), kSource);
  ESPALIER_RETURN_IF_ERROR(CheckTiling(*contents, file));
  return CheckWrittenAgain(*contents);
}

}  // namespace

// A file, or its header and its data.
absl::Status Safetensors(std::string_view input) {
  ESPALIER_RETURN_IF_ERROR(CheckFile(input));
  const auto [header, data] = TwoParts(input);
  return header.size() == input.size() ? absl::OkStatus() : CheckFile(FileOf(header, data));
}

}  // namespace espalier::fuzz
