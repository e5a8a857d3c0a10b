#include "common/safetensors_header.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/json.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

absl::Status Invalid(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// Sizes of the types that the format defines. Espalier computes with few of them, but a file is
// checked as a whole.
std::optional<uint64_t> BitsOf(const std::string& dtype) {
  static const auto* const kBits = new std::map<std::string, uint64_t>{
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},
      {"U32", 32}, {"F32", 32}, {"F64", 64}, {"I64", 64},    {"U64", 64}};
  const auto found = kBits->find(dtype);
  return found == kBits->end() ? std::nullopt : std::optional<uint64_t>(found->second);
}

std::optional<uint64_t> CheckedProduct(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

absl::StatusOr<std::string_view> HeaderText(std::string_view file, const std::string& source) {
  if (file.size() < kLengthBytes) {
    return Invalid(source, absl::StrCat("is truncated: ", file.size(),
                                        " bytes cannot hold a safetensors header"));
  }
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(file[i]);
  if (length > kMaxHeaderBytes) {
    return Invalid(source, absl::StrCat("is not a safetensors file: it asks for a header of ",
                                        length, " bytes, more than ", kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    return Invalid(source, absl::StrCat("is truncated: its header takes ", length,
                                        " bytes, the file has ", file.size(), " in all"));
  }
  return file.substr(kLengthBytes, length);
}

absl::StatusOr<Json> ParseHeader(std::string_view text, const std::string& source) {
  // The format wants the brace first, where JSON allows spaces.
  if (!text.starts_with('{')) return Invalid(source, "its header is not a JSON object");
  JsonAndDuplicate header = ParseJsonNotingDuplicates(text);
  if (!header.value.is_object()) return Invalid(source, "its header is not a JSON object");
  if (header.duplicate) {
    return Invalid(source, absl::StrCat("its header has \"", *header.duplicate, "\" twice"));
  }
  return std::move(header.value);
}

absl::StatusOr<std::map<std::string, std::string>> ParseMetadata(const Json& value,
                                                                 const std::string& source) {
  std::map<std::string, std::string> metadata;
  if (!value.is_object()) return Invalid(source, "its __metadata__ is not an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) {
      return Invalid(source, absl::StrCat("its __metadata__ \"", key, "\" is not a string"));
    }
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

// An array of non-negative integers.
absl::StatusOr<std::vector<int64_t>> ParseIntegers(const Json& entry, const char* key,
                                                   const std::string& where) {
  const auto found = entry.find(key);
  std::vector<int64_t> values;
  if (found == entry.end() || !found->is_array()) {
    return Invalid(where, absl::StrCat("has no array \"", key, "\""));
  }
  for (const Json& value : *found) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) {
      return Invalid(where, absl::StrCat("\"", key, "\" has an element that is not an integer ",
                                         "from 0 to 2^63 - 1"));
    }
    values.push_back(value.get<int64_t>());
  }
  return values;
}

absl::Status CheckSize(const SafetensorsEntry& entry, const std::string& where) {
  const std::optional<uint64_t> bits = BitsOf(entry.dtype);
  if (!bits) return absl::OkStatus();  // a type of a later format; nobody can ask for it here
  std::optional<uint64_t> bytes = *bits / 8;
  for (int64_t size : entry.shape) bytes = bytes ? CheckedProduct(*bytes, size) : std::nullopt;
  if (bytes && *bytes == entry.bytes.size()) return absl::OkStatus();
  return Invalid(
      where,
      absl::StrCat("shape [", absl::StrJoin(entry.shape, ", "), "] of ", entry.dtype, " takes ",
                   bytes ? absl::StrCat(*bytes, " bytes") : "more than 2^64 bytes",
                   ", its data_offsets span ", entry.bytes.size()));
}

absl::StatusOr<SafetensorsEntry> ParseEntry(const std::string& name, const Json& value,
                                            std::string_view data, const std::string& where) {
  if (!value.is_object()) return Invalid(where, "is not an object");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string()) return Invalid(where, "has no string \"dtype\"");
  SafetensorsEntry entry{
      .name = name, .dtype = dtype->get<std::string>(), .shape = {}, .bytes = {}};
  ESPALIER_ASSIGN_OR_RETURN(entry.shape, ParseIntegers(value, "shape", where));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                            ParseIntegers(value, "data_offsets", where));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return Invalid(where, "\"data_offsets\" is not [begin, end] with begin <= end");
  }
  if (static_cast<uint64_t>(offsets[1]) > data.size()) {
    return Invalid(where, absl::StrCat("ends at byte ", offsets[1], " of the data, but the file ",
                                       "has only ", data.size(), ": it is truncated or damaged"));
  }
  entry.bytes = data.substr(offsets[0], offsets[1] - offsets[0]);
  ESPALIER_RETURN_IF_ERROR(CheckSize(entry, where));
  return entry;
}

// The tensors must tile the data: the format forbids holes, so that no file is two things at once.
absl::Status SortAndCheckTiling(std::vector<SafetensorsEntry>* entries, std::string_view data,
                                const std::string& source) {
  const auto position = [](const SafetensorsEntry& entry) {
    return std::make_tuple(entry.bytes.data(), entry.bytes.size());
  };
  std::sort(entries->begin(), entries->end(),
            [&](const auto& a, const auto& b) { return position(a) < position(b); });
  const char* end = data.data();
  for (const SafetensorsEntry& entry : *entries) {
    const std::string where = absl::StrCat(source, ": tensor \"", entry.name, "\"");
    if (entry.bytes.data() < end) return Invalid(where, "overlaps another tensor");
    if (entry.bytes.data() > end) {
      return Invalid(where, absl::StrCat("comes after a hole of ", entry.bytes.data() - end,
                                         " bytes that belong to no tensor"));
    }
    end = entry.bytes.data() + entry.bytes.size();
  }
  const ptrdiff_t rest = data.data() + data.size() - end;
  if (rest == 0) return absl::OkStatus();
  return Invalid(source, absl::StrCat("its last ", rest, " bytes belong to no tensor"));
}

}  // namespace

absl::StatusOr<SafetensorsContents> ParseSafetensors(std::string_view file,
                                                     const std::string& source) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file, source));
  ESPALIER_ASSIGN_OR_RETURN(const Json header, ParseHeader(text, source));
  const std::string_view data = file.substr(kLengthBytes + text.size());
  SafetensorsContents contents;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      ESPALIER_ASSIGN_OR_RETURN(contents.metadata, ParseMetadata(value, source));
      continue;
    }
    const std::string where = absl::StrCat(source, ": tensor \"", name, "\"");
    ESPALIER_ASSIGN_OR_RETURN(SafetensorsEntry entry, ParseEntry(name, value, data, where));
    contents.entries.push_back(std::move(entry));
  }
  ESPALIER_RETURN_IF_ERROR(SortAndCheckTiling(&contents.entries, data, source));
  return contents;
}

}  // namespace espalier
