#include "benchmarks/scale/status_probe.h"

#include <httplib.h>

#include "absl/strings/str_cat.h"

namespace espalier::scale {
namespace {

constexpr std::chrono::milliseconds kDistance{250};
constexpr std::chrono::seconds kPatience{120};

}  // namespace

std::optional<std::string> FetchStatus(int port, const std::string& path) {
  httplib::Client client("127.0.0.1", port);
  client.set_read_timeout(kPatience);
  const httplib::Result result = client.Get(path);
  if (!result || result->status != 200) return std::nullopt;
  return result->body;
}

StatusProbe::StatusProbe(int port, const std::string& job)
    : port_(port),
      status_thread_([this] { Run("/api/v1/status", &status_); }),
      job_thread_([this, job] { Run(absl::StrCat("/api/v1/jobs/", job), &job_); }) {}

StatusProbe::~StatusProbe() {
  stopping_ = true;
  status_thread_.join();
  job_thread_.join();
}

void StatusProbe::Run(const std::string& path, Durations* durations) {
  while (!stopping_) {
    const Clock::time_point start = Clock::now();
    if (FetchStatus(port_, path).has_value()) durations->Add(MillisecondsSince(start));
    std::this_thread::sleep_for(kDistance);
  }
}

}  // namespace espalier::scale
