#include "coordinator/status/status_gate.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/status_json.h"

namespace espalier {
namespace {

// The secret that a request shows; empty: none that can be read.
std::string Shown(const httplib::Request& request) {
  const std::string header = request.get_header_value("Authorization");
  absl::string_view value = header;
  if (absl::ConsumePrefix(&value, "Bearer ")) return std::string(value);
  std::string pair;
  if (!absl::ConsumePrefix(&value, "Basic ") || !absl::Base64Unescape(value, &pair)) return "";
  const size_t colon = pair.find(':');
  return colon == std::string::npos ? "" : pair.substr(colon + 1);
}

}  // namespace

StatusGate::StatusGate(const StatusSecurity& security)
    : tokens_(security.tokens),
      open_(!tokens_.has_value() &&
            (!security.tls.has_value() || security.tls->client_ca.empty())) {}

bool StatusGate::Knows(const httplib::Request& request) const {
  if (request.has_header(HttpServer::kCertified)) return true;
  if (!tokens_.has_value()) return false;
  const std::string shown = Shown(request);
  return !shown.empty() && tokens_->Contains(shown);
}

bool StatusGate::Admit(const httplib::Request& request, httplib::Response& response) const {
  if (open_ || request.path == "/livez" || request.path == "/readyz" || Knows(request)) return true;
  response.status = 401;
  if (tokens_.has_value()) {
    // Without it a browser would not ask.
    response.set_header("WWW-Authenticate", "Basic realm=\"Espalier: any name, a client's token\"");
  }
  response.set_content(
      JsonText(ErrorJson(tokens_.has_value()
                             ? "show a client's token: as a bearer token, or as the password"
                             : "show a certificate of the coordinator's --tls-client-ca")),
      "application/json");
  return false;
}

}  // namespace espalier
