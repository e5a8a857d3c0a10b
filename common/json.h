// JSON from files that others wrote: nlohmann's parser, without what could hurt its callers.
#ifndef ESPALIER_COMMON_JSON_H_
#define ESPALIER_COMMON_JSON_H_

#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

namespace espalier {

// Far more than any file of a model has. nlohmann copies, compares and prints values by recursion,
// so that a deep one ends the process.
inline constexpr int kMaxJsonDepth = 100;

// False when arrays and objects are nested deeper than kMaxJsonDepth, or when there is a NUL byte,
// which nlohmann takes for the end of the text. Says nothing else about `text`.
bool IsSafeJson(std::string_view text);

// Discarded (is_discarded()) for what is not JSON, and for what is not safe. `Json` is
// nlohmann::json or nlohmann::ordered_json.
template <typename Json = nlohmann::json>
Json ParseJson(std::string_view text) {
  if (!IsSafeJson(text)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

struct JsonAndDuplicate {
  nlohmann::json value;
  std::optional<std::string> duplicate;  // the first key that its object already had
};

// As ParseJson. nlohmann keeps the last of several equal keys; a hostile file could show one reader
// the first and another the last.
JsonAndDuplicate ParseJsonNotingDuplicates(std::string_view text);

}  // namespace espalier

#endif  // ESPALIER_COMMON_JSON_H_
