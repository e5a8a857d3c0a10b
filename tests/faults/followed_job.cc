#include "tests/faults/followed_job.h"

#include <chrono>
#include <limits>
#include <utility>

#include "client/follow.h"
#include "client/progress_reporter.h"
#include "client/progress_view.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

constexpr std::chrono::minutes kPatience{2};

// How far a job is, in an order that only grows.
std::pair<int, int64_t> Point(const v1::Progress& progress) {
  return {progress.phase(), progress.generation()};
}

}  // namespace

FollowedJob::FollowedJob(std::unique_ptr<JobClient> client, std::string id)
    : id_(std::move(id)),
      client_(std::move(client)),
      job_(absl::UnavailableError("not ended")),
      thread_([this](const std::stop_token& stop) { Follow(stop); }) {}

FollowedJob::~FollowedJob() { thread_.request_stop(); }

void FollowedJob::Follow(const std::stop_token& stop) {
  const auto reporter = MakeQuietReporter();
  FollowOptions options;
  options.on_event = [this](const v1::JobEvent& event) {
    MutexLock lock(&mutex_);
    events_.push_back(event);
    changed_.NotifyAll();
  };
  absl::StatusOr<v1::Job> job = FollowJob(*client_, id_, *reporter, options, stop);
  MutexLock lock(&mutex_);
  job_ = std::move(job);
  ended_ = true;
  changed_.NotifyAll();
}

bool FollowedJob::ended() const {
  MutexLock lock(&mutex_);
  return ended_;
}

bool FollowedJob::WaitFor(const std::function<bool(const v1::JobEvent&)>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  MutexLock lock(&mutex_);
  for (size_t next = 0;;) {
    for (; next < events_.size(); ++next) {
      if (condition(events_[next])) return true;
    }
    if (ended_) return false;
    if (!changed_.WaitUntil(&mutex_, deadline)) {
      ADD_FAILURE() << id_ << ": what was waited for did not come; the last event: "
                    << (events_.empty() ? "none" : events_.back().ShortDebugString());
      return false;
    }
  }
}

bool FollowedJob::WaitForPhase(v1::JobPhase phase) {
  return WaitFor([phase](const v1::JobEvent& event) { return event.progress().phase() >= phase; });
}

bool FollowedJob::WaitForWhatIsOpen() {
  const absl::StatusOr<v1::Job> now = client_->Get(id_);
  if (!now.ok()) {
    ADD_FAILURE() << now.status();
    return false;
  }
  auto open = Point(now->progress());
  // The whole first generation is open before its first candidate is done.
  if (open.first == v1::JOB_PHASE_INITIALIZE) open.first = v1::JOB_PHASE_SEARCH;
  return WaitFor([open](const v1::JobEvent& event) {
    return Point(event.progress()) > open && !IsFinal(event.state());
  });
}

v1::Job FollowedJob::Wait() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  MutexLock lock(&mutex_);
  while (!ended_ && changed_.WaitUntil(&mutex_, deadline)) {
  }
  EXPECT_TRUE(ended_) << id_ << " does not end";
  EXPECT_TRUE(job_.ok()) << job_.status();
  CheckEvents();
  return job_.ok() ? *job_ : v1::Job();
}

void FollowedJob::CheckEvents() const {
  uint64_t number = 0;
  int state = v1::JOB_STATE_QUEUED;
  std::pair<int, int64_t> point;
  double best = std::numeric_limits<double>::infinity();
  for (const v1::JobEvent& event : events_) {
    EXPECT_EQ(event.number(), ++number) << event.ShortDebugString();
    EXPECT_GE(event.state(), state) << event.ShortDebugString();
    EXPECT_GE(Point(event.progress()), point) << event.ShortDebugString();
    state = event.state();
    point = Point(event.progress());
    if (event.progress().best_perplexity() == 0) continue;  // none yet
    EXPECT_LE(event.progress().best_perplexity(), best) << event.ShortDebugString();
    best = event.progress().best_perplexity();
  }
  EXPECT_TRUE(!events_.empty() && IsFinal(events_.back().state())) << id_;
}

}  // namespace espalier
