// Checked access to a JSON document: every error names the file and the path of the member.
#ifndef ESPALIER_COMMON_TOKENIZERS_JSON_VIEW_H_
#define ESPALIER_COMMON_TOKENIZERS_JSON_VIEW_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace espalier::tokenizers {

// INVALID_ARGUMENT, naming `source`, unless `text` is one JSON object.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view source);

// A value within a document that outlives the view.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, std::string source, std::string path = "");

  const nlohmann::json& value() const { return *value_; }
  // True when this is an object that has a value other than null at `key`.
  bool Has(std::string_view key) const;

  // INVALID_ARGUMENT when the member is absent or has another type.
  absl::StatusOr<JsonView> Object(std::string_view key) const;
  absl::StatusOr<std::vector<JsonView>> Array(std::string_view key) const;
  absl::StatusOr<std::string> String(std::string_view key) const;
  absl::StatusOr<int32_t> Id(std::string_view key) const;  // 0 .. 2³¹ − 1

  // These return `fallback` when the member is absent or null.
  absl::StatusOr<bool> BoolOr(std::string_view key, bool fallback) const;
  absl::StatusOr<std::string> StringOr(std::string_view key, std::string_view fallback) const;

  // "tokenizer.json: model.merges[3]: <message>".
  absl::Status Invalid(std::string_view message) const;
  absl::Status Unsupported(std::string_view message) const;

 private:
  absl::StatusOr<JsonView> Member(std::string_view key) const;
  std::string Describe(std::string_view message) const;

  const nlohmann::json* value_;
  std::string source_;
  std::string path_;
};

// As Id, of a value by itself.
absl::StatusOr<int32_t> ToId(const JsonView& view);

}  // namespace espalier::tokenizers

#endif  // ESPALIER_COMMON_TOKENIZERS_JSON_VIEW_H_
