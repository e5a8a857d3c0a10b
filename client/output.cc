#include "client/output.h"

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "client/exit_codes.h"

namespace espalier {

void PrintJson(const nlohmann::ordered_json& json) {
  std::cout << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n'
            << std::flush;
}

void PrintText(const std::string& text) { std::cout << text << std::flush; }

int Fail(const std::string& message, int code, bool json) {
  std::cerr << "espalier: " << message << '\n' << std::flush;
  if (json) PrintJson({{"error", message}});
  return code;
}

int Fail(const absl::Status& status, bool json) {
  return Fail(std::string(status.message()),
              absl::IsCancelled(status) ? kExitInterrupted : kExitFailure, json);
}

}  // namespace espalier
