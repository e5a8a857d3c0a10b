#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"
#include "coordinator/status/http_server.h"
#include "coordinator/status/routes.h"
#include "coordinator/status/status_feed.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"
#include "nlohmann/json.hpp"

namespace espalier::fuzz {
namespace {

// One job, one worker.
class StillSource final : public StatusSource {
 public:
  StatusSnapshot Look() const override {
    StatusSnapshot snapshot;
    snapshot.ready = true;
    snapshot.jobs = {Job()};
    snapshot.workers.emplace_back().info.name = "worker";
    return snapshot;
  }
  absl::StatusOr<JobDetail> LookAt(JobId job) const override {
    if (job != 1) return absl::NotFoundError("there is no such job");
    return JobDetail{.job = Job(), .history = {}, .messages = {{.text = "hello"}}};
  }
  uint64_t WaitForChange(uint64_t seen, std::chrono::steady_clock::time_point) const override {
    return seen;
  }

 private:
  static JobView Job() {
    JobView job;
    job.id = 1;
    job.spec = std::make_shared<const JobSpec>();
    return job;
  }
};

// A connection whose peer sent all of `request` and reads everything.
class MemoryStream final : public httplib::Stream {
 public:
  explicit MemoryStream(std::string_view request) : rest_(request) {}

  ssize_t read(char* data, size_t size) override {
    const size_t count = std::min(size, rest_.size());
    std::memcpy(data, rest_.data(), count);
    rest_.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* data, size_t size) override {
    answer_.append(data, size);
    return static_cast<ssize_t>(size);
  }
  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  int socket() const override { return -1; }

  const std::string& answer() const { return answer_; }

 private:
  std::string_view rest_;
  std::string answer_;
};

// A server that is not started: requests come from memory. Event streams are refused, because they
// would not end.
class Endpoint {
 public:
  Endpoint()
      : feed_(&source_, {}),
        routes_(&source_, &feed_),
        server_(
            {}, [this](const auto& request, auto& response) { routes_.Handle(request, response); },
            &StatusRoutes::Explain) {
    feed_.Stop();
  }
  void Serve(MemoryStream& stream) { server_.Serve(stream); }

 private:
  const StillSource source_;
  StatusFeed feed_;
  const StatusRoutes routes_;
  HttpServer server_;
};

// Nothing of a request may become a header of its answer.
absl::Status CheckHeaders(absl::string_view head) {
  for (const absl::string_view line : absl::StrSplit(head, "\r\n")) {
    if (line.empty() || absl::StartsWith(line, "HTTP/1.1 ")) continue;
    bool known = false;
    for (const char* name : {"Allow", "Cache-Control", "Connection", "Content-Encoding",
                             "Content-Length", "Content-Security-Policy", "Content-Type",
                             "Retry-After", "X-Content-Type-Options", "Accept-Ranges"}) {
      known |= absl::StartsWith(line, absl::StrCat(name, ": "));
    }
    ESPALIER_RETURN_IF_ERROR(
        Require(known, absl::StrCat("an answer's headers are our own: ", line)));
  }
  return absl::OkStatus();
}

absl::Status CheckAnswer(const std::string& answer) {
  absl::string_view rest = answer;
  // A client that asked for leave to send a body.
  absl::ConsumePrefix(&rest, "HTTP/1.1 100 Continue\r\n\r\n");
  if (rest.empty()) return absl::OkStatus();  // the connection is closed without a word
  const size_t end = rest.find("\r\n\r\n");
  ESPALIER_RETURN_IF_ERROR(
      Require(absl::StartsWith(rest, "HTTP/1.1 ") && end != std::string::npos, "it is HTTP"));
  const absl::string_view head = rest.substr(0, end);
  const absl::string_view body = rest.substr(end + 4);
  ESPALIER_RETURN_IF_ERROR(CheckHeaders(head));
  const bool readable = !body.empty() && !absl::StrContains(head, "Content-Encoding: ");
  if (!readable || !absl::StrContains(head, "Content-Type: application/json")) {
    return absl::OkStatus();
  }
  return Require(nlohmann::json::accept(body.begin(), body.end()), "a body that says so is JSON");
}

}  // namespace

absl::Status HttpRequest(std::string_view input) {
  static Endpoint* const endpoint = new Endpoint;  // to make one costs more than to ask it
  MemoryStream stream(input.substr(0, ConnectionLimits().request_bytes));
  try {
    endpoint->Serve(stream);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("an exception: ", error.what()));
  }
  return CheckAnswer(stream.answer());
}

}  // namespace espalier::fuzz
