#include "coordinator/status/routes.h"

#include <optional>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "coordinator/status/event_stream.h"
#include "coordinator/status/metrics.h"
#include "coordinator/status/page.h"
#include "coordinator/status/resident_memory.h"
#include "coordinator/status/status_json.h"

namespace espalier {
namespace {

constexpr char kJson[] = "application/json";
constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kPageType[] = "text/html; charset=utf-8";
// The page may load nothing from elsewhere and talk to nobody but its own server.
constexpr char kPagePolicy[] =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
constexpr std::string_view kJobPrefix = "/api/v1/jobs/";
constexpr std::string_view kEventsPath = "/api/v1/events";

void Answer(httplib::Response& response, int status, const std::string& body, const char* type) {
  response.status = status;
  response.set_content(body, type);
}

void Refuse(httplib::Response& response, int status, const std::string& message) {
  Answer(response, status, JsonText(ErrorJson(message)), kJson);
}

// Why the query cannot be understood; nothing if it can.
std::optional<std::string> QueryMistake(const httplib::Request& request) {
  const bool events = request.path == kEventsPath;
  for (const auto& [name, value] : request.params) {
    if (events && name == "after" && request.get_param_value_count("after") == 1) continue;
    return absl::StrCat(
        "the query names \"", name, "\"; ",
        events ? "this address takes \"after\", once" : "this address takes no parameters");
  }
  return std::nullopt;
}

std::optional<JobId> ParseJobId(std::string_view name) {
  JobId id = 0;
  absl::string_view digits(name.data(), name.size());
  if (!absl::ConsumePrefix(&digits, "job-") || !absl::SimpleAtoi(digits, &id) ||
      absl::StrCat("job-", id) != name) {
    return std::nullopt;
  }
  return id;
}

void Page(httplib::Response& response) {
  response.set_header("Content-Security-Policy", kPagePolicy);
  Answer(response, 200, std::string(StatusPage()), kPageType);
}

}  // namespace

void StatusRoutes::Handle(const httplib::Request& request, httplib::Response& response) const {
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Content-Type-Options", "nosniff");
  if (request.method != "GET" && request.method != "HEAD") {
    response.set_header("Allow", "GET, HEAD");
    return Refuse(response, 405, "only GET and HEAD are answered here");
  }
  if (const std::optional<std::string> mistake = QueryMistake(request)) {
    return Refuse(response, 400, *mistake);
  }
  Route(request, response);
}

void StatusRoutes::Route(const httplib::Request& request, httplib::Response& response) const {
  const std::string& path = request.path;
  if (path == "/") return Page(response);
  if (path == "/api/v1/status") {
    return Answer(response, 200, JsonText(StatusJson(source_->Look())), kJson);
  }
  if (absl::StartsWith(path, "/api/v1/jobs/")) return Job(path.substr(kJobPrefix.size()), response);
  if (path == kEventsPath) return Events(request, response);
  if (path == "/metrics") return Metrics(response);
  if (path == "/livez") return Answer(response, 200, "alive\n", kPlain);
  if (path == "/readyz") return Ready(response);
  Refuse(response, 404,
         "nothing is at this address; there are /, /api/v1/status, /api/v1/jobs/ID, "
         "/api/v1/events, /metrics, /livez and /readyz");
}

void StatusRoutes::Job(const std::string& name, httplib::Response& response) const {
  const std::optional<JobId> id = ParseJobId(name);
  if (!id.has_value()) {
    return Refuse(response, 400, absl::StrCat("\"", name, "\" is no job id; ids look like job-1"));
  }
  const absl::StatusOr<JobDetail> detail = source_->LookAt(*id);
  if (!detail.ok()) return Refuse(response, 404, std::string(detail.status().message()));
  Answer(response, 200, JsonText(JobJson(*detail)), kJson);
}

void StatusRoutes::Metrics(httplib::Response& response) const {
  const ProcessFigures process{.resident_bytes = ResidentMemoryBytes(),
                               .event_streams = feed_->streams()};
  Answer(response, 200, MetricsText(source_->Look(), process), kMetricsType);
}

void StatusRoutes::Ready(httplib::Response& response) const {
  const StatusSnapshot snapshot = source_->Look();
  if (snapshot.ready) return Answer(response, 200, "ready\n", kPlain);
  Answer(response, 503, snapshot.trouble.empty() ? "shutting down\n" : snapshot.trouble + "\n",
         kPlain);
}

void StatusRoutes::Events(const httplib::Request& request, httplib::Response& response) const {
  SnapshotId after;
  std::string text = request.get_param_value("after");
  // A browser that reconnects says it in the header; that is newer than the address.
  if (request.has_header("Last-Event-ID")) text = request.get_header_value("Last-Event-ID");
  if (!text.empty()) {
    const absl::StatusOr<SnapshotId> id = SnapshotId::Parse(text);
    if (!id.ok()) return Refuse(response, 400, std::string(id.status().message()));
    after = *id;
  }
  if (request.method == "HEAD") return Answer(response, 200, "", kEventsType);
  if (!SendEvents(feed_, after, response)) {
    response.set_header("Retry-After", "5");
    Refuse(response, 503, "as many clients follow the events as may; try later");
  }
}

void StatusRoutes::Explain(const httplib::Request&, httplib::Response& response) {
  const char* reason = "this request cannot be understood: it is no HTTP, too long, or too slow";
  if (response.status == 414) reason = "the address is too long";
  if (response.status == 500) reason = "the answer could not be made";
  Refuse(response, response.status, reason);
}

}  // namespace espalier
