// What commands write: results to stdout, errors to stderr (and, for scripts, to stdout as JSON).
#ifndef ESPALIER_CLIENT_OUTPUT_H_
#define ESPALIER_CLIENT_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace espalier {

// One line of JSON and a newline on stdout. Text that is not UTF-8 is mended, never an error.
void PrintJson(const nlohmann::ordered_json& json);
void PrintText(const std::string& text);

// "espalier: message" on stderr and, with `json`, {"error": message} on stdout. Returns `code`.
int Fail(const std::string& message, int code, bool json);
// The same with kExitInterrupted for CANCELLED and kExitFailure for every other code.
int Fail(const absl::Status& status, bool json);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_OUTPUT_H_
