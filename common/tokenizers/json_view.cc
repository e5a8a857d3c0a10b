#include "common/tokenizers/json_view.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/json.h"
#include "common/status_macros.h"

namespace espalier::tokenizers {

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view source) {
  nlohmann::json parsed = ParseJson(text);
  if (parsed.is_discarded()) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source), ": not valid JSON (truncated?); get the file again"));
  }
  if (!parsed.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(source), ": expected a JSON object, got ", parsed.type_name()));
  }
  return parsed;
}

JsonView::JsonView(const nlohmann::json& value, std::string source, std::string path)
    : value_(&value), source_(std::move(source)), path_(std::move(path)) {}

bool JsonView::Has(std::string_view key) const {
  if (!value_->is_object()) return false;
  const auto member = value_->find(std::string(key));
  return member != value_->end() && !member->is_null();
}

absl::StatusOr<JsonView> JsonView::Member(std::string_view key) const {
  if (!Has(key)) return Invalid(absl::StrCat("\"", std::string(key), "\" is missing"));
  return JsonView((*value_)[std::string(key)], source_,
                  path_.empty() ? std::string(key) : absl::StrCat(path_, ".", std::string(key)));
}

absl::StatusOr<JsonView> JsonView::Object(std::string_view key) const {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView member, Member(key));
  if (!member.value().is_object()) return member.Invalid("expected an object");
  return member;
}

absl::StatusOr<std::vector<JsonView>> JsonView::Array(std::string_view key) const {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView member, Member(key));
  if (!member.value().is_array()) return member.Invalid("expected an array");
  std::vector<JsonView> elements;
  elements.reserve(member.value().size());
  for (size_t i = 0; i < member.value().size(); ++i) {
    elements.emplace_back(member.value()[i], source_, absl::StrCat(member.path_, "[", i, "]"));
  }
  return elements;
}

absl::StatusOr<std::string> JsonView::String(std::string_view key) const {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView member, Member(key));
  if (!member.value().is_string()) return member.Invalid("expected a string");
  return member.value().get<std::string>();
}

absl::StatusOr<int32_t> JsonView::Id(std::string_view key) const {
  ESPALIER_ASSIGN_OR_RETURN(const JsonView member, Member(key));
  return ToId(member);
}

absl::StatusOr<bool> JsonView::BoolOr(std::string_view key, bool fallback) const {
  if (!Has(key)) return fallback;
  ESPALIER_ASSIGN_OR_RETURN(const JsonView member, Member(key));
  if (!member.value().is_boolean()) return member.Invalid("expected true or false");
  return member.value().get<bool>();
}

absl::StatusOr<std::string> JsonView::StringOr(std::string_view key,
                                               std::string_view fallback) const {
  if (!Has(key)) return std::string(fallback);
  return String(key);
}

std::string JsonView::Describe(std::string_view message) const {
  return absl::StrCat(source_, ": ", path_, path_.empty() ? "" : ": ", std::string(message));
}

absl::Status JsonView::Invalid(std::string_view message) const {
  return absl::InvalidArgumentError(Describe(message));
}

absl::Status JsonView::Unsupported(std::string_view message) const {
  return absl::UnimplementedError(Describe(message));
}

absl::StatusOr<int32_t> ToId(const JsonView& view) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  const nlohmann::json& value = view.value();
  const bool in_range =
      value.is_number_unsigned()
          ? value.get<uint64_t>() <= static_cast<uint64_t>(kMax)
          : value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= kMax;
  if (!in_range) return view.Invalid("expected a token id");
  return value.get<int32_t>();
}

}  // namespace espalier::tokenizers
