#include "client/follow.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/progress_view.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

absl::Status Stopped(const std::string& id) {
  return absl::CancelledError(absl::StrCat("stopped following job ", id));
}

// Between two attempts on a coordinator that accepts connections but sends nothing.
void Pause(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any condition;
  std::unique_lock<std::mutex> lock(mutex);
  condition.wait_for(lock, stop, milliseconds(200), [] { return false; });
}

// One connection's worth of events; `last` is the last event's number, before and after.
absl::Status WatchOnce(JobClient& client, const std::string& id, ProgressReporter& reporter,
                       const FollowOptions& options, std::stop_token stop, uint64_t& last) {
  return client.Watch(
      id, last,
      [&](const v1::JobEvent& event) {
        if (event.number() <= last) return;
        last = event.number();
        options.on_event(event);
        reporter.OnEvent(event);
      },
      std::move(stop));
}

}  // namespace

absl::StatusOr<v1::Job> FollowJob(JobClient& client, const std::string& id,
                                  ProgressReporter& reporter, const FollowOptions& options,
                                  const std::stop_token& stop) {
  uint64_t last = 0;
  auto lost_at = steady_clock::time_point::max();  // since when no event has come
  while (true) {
    const uint64_t before = last;
    absl::Status status = WatchOnce(client, id, reporter, options, stop, last);
    if (stop.stop_requested()) return Stopped(id);
    if (status.ok()) {
      absl::StatusOr<v1::Job> job = client.Get(id);
      if (job.ok() && IsFinal(job->state())) return job;
      // A stream that ends before its job does is a coordinator going down.
      status = job.ok() ? absl::UnavailableError("the coordinator ended the stream of events")
                        : job.status();
    }
    if (!absl::IsUnavailable(status) && !absl::IsCancelled(status)) return status;
    const auto now = steady_clock::now();
    if (last != before || lost_at == steady_clock::time_point::max()) {
      lost_at = now;
      reporter.Note(absl::StrCat("Lost the coordinator at ", client.address(), "; trying again."));
    }
    const auto left = options.reconnect_timeout - duration_cast<milliseconds>(now - lost_at);
    if (left <= milliseconds::zero() || !client.WaitForConnection(left, stop)) {
      return stop.stop_requested() ? Stopped(id) : status;
    }
    if (last == before) Pause(stop);
  }
}

namespace {

// Of a job with several sizes that did not end well.
std::string WhatIsFinished(const v1::Job& job) {
  if (job.results().empty()) return "";
  return absl::StrCat("; of its ", job.progress().sizes(), " sizes ", job.results_size(),
                      " had been finished: see ", job.output());
}

}  // namespace

absl::Status JobOutcome(const v1::Job& job) {
  switch (job.state()) {
    case v1::JOB_STATE_SUCCEEDED:
      return absl::OkStatus();
    case v1::JOB_STATE_FAILED:
      return absl::AbortedError(absl::StrCat(
          job.error().empty() ? absl::StrCat("job ", job.id(), " failed") : job.error(),
          WhatIsFinished(job)));
    case v1::JOB_STATE_CANCELLED:
      return absl::AbortedError(
          absl::StrCat("job ", job.id(), " was cancelled", WhatIsFinished(job)));
    default:
      return absl::FailedPreconditionError(absl::StrCat(
          "job ", job.id(), " has no result yet: it is ", std::string(StateName(job.state())),
          "; follow it with `espalier watch ", job.id(), "`"));
  }
}

}  // namespace espalier
