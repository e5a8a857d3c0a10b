#include "common/json.h"

#include <functional>
#include <set>
#include <vector>

namespace espalier {
namespace {

using Json = nlohmann::json;

class DuplicateKeys {
 public:
  bool operator()(int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end) open_.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      if (!open_.back().insert(key).second && !first_) first_ = key;
    }
    return true;
  }
  const std::optional<std::string>& first() const { return first_; }

 private:
  std::vector<std::set<std::string>> open_;
  std::optional<std::string> first_;
};

}  // namespace

bool IsSafeJson(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return false;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      if (++depth > kMaxJsonDepth) return false;
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    }
  }
  return true;
}

JsonAndDuplicate ParseJsonNotingDuplicates(std::string_view text) {
  if (!IsSafeJson(text)) return {Json(Json::value_t::discarded), std::nullopt};
  DuplicateKeys duplicates;
  Json value = Json::parse(text, std::ref(duplicates), /*allow_exceptions=*/false);
  return {std::move(value), duplicates.first()};
}

}  // namespace espalier
