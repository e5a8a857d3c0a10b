#include "coordinator/jobs/job_reporter.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace espalier {

bool IsFinal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed ||
         state == JobState::kCancelled;
}

JobReporter::JobReporter(JobId id, std::shared_ptr<const JobSpec> spec, TimeMs now) {
  view_.id = id;
  view_.created = now;
  view_.spec = std::move(spec);
}

void JobReporter::Restore(uint64_t last_event, JobState state, const ProgressView& progress) {
  last_event_ = last_event;
  view_.state = state;
  view_.progress = progress;
  view_.progress.waiting_for.clear();
  done_ = progress.done;
}

void JobReporter::BeginReplay() {
  replaying_ = true;
  view_.progress = {};
  view_.results.clear();
  done_ = 0;
}

void JobReporter::EndReplay(TimeMs now) {
  replaying_ = false;
  in_flight_ = 0;
  rate_.Start(now, static_cast<double>(done_));
  throttle_.Start(now);
}

void JobReporter::Activate(const Step& step) {
  if (view_.state != JobState::kQueued) return;
  view_.state = JobState::kRunning;
  view_.progress.waiting_for.clear();
  Publish(step, "");
}

void JobReporter::Pause(const Step& step) {
  if (view_.state == JobState::kPaused) return;
  view_.state = JobState::kPaused;
  Publish(step, "paused");
}

void JobReporter::Unpause(const Step& step) {
  if (view_.state != JobState::kPaused) return;
  view_.state = JobState::kQueued;
  view_.progress.waiting_for.clear();
  rate_.Start(step.now, static_cast<double>(done_));
  Publish(step, "resumed");
}

void JobReporter::StartPhase(const Step& step, JobPhase phase, int64_t total, std::string unit,
                             const std::string& message) {
  view_.progress.phase = phase;
  view_.progress.total = total;
  view_.progress.unit = std::move(unit);
  done_ = 0;
  in_flight_ = 0;
  rate_.Start(step.now);
  throttle_.Start(step.now);
  Publish(step, message);
}

void JobReporter::Message(const Step& step, const std::string& message) { Publish(step, message); }

void JobReporter::SetWaiting(const Step& step, const std::string& waiting_for) {
  if (view_.progress.waiting_for == waiting_for) return;
  view_.progress.waiting_for = waiting_for;
  Publish(step, "");
}

void JobReporter::AddDone(int64_t units) {
  done_ += units;
  in_flight_ = 0;
  changed_ = true;
}

void JobReporter::SetTotal(int64_t total) {
  view_.progress.total = total;
  changed_ = true;
}

void JobReporter::ImproveBest(double perplexity, double ratio) {
  const ProgressView& progress = view_.progress;
  if (progress.best_perplexity > 0 && perplexity >= progress.best_perplexity) return;
  SetBest(perplexity, ratio);
}

void JobReporter::SetBest(double perplexity, double ratio) {
  ProgressView& progress = view_.progress;
  if (!std::isfinite(perplexity)) return;
  progress.best_perplexity = perplexity;
  progress.ratio = ratio;
  changed_ = true;
}

void JobReporter::StartSize(int64_t size, int64_t sizes) {
  ProgressView& progress = view_.progress;
  progress.size = size;
  progress.sizes = sizes;
  progress.best_perplexity = 0;
  progress.ratio = 0;
  progress.generation = 0;
}

void JobReporter::AddResult(const Step& step, std::shared_ptr<const ResultView> result,
                            const std::string& message) {
  view_.results.push_back(std::move(result));
  Publish(step, message, view_.results);
}

void JobReporter::PublishProgress(const Step& step, double in_flight) {
  if (in_flight != in_flight_) changed_ = true;
  in_flight_ = in_flight;
  if (changed_) Publish(step, "");
}

void JobReporter::Succeed(const Step& step, std::shared_ptr<const ResultView> result,
                          const std::string& message) {
  view_.results.push_back(std::move(result));
  Finish(step, JobState::kSucceeded, message);
}

void JobReporter::Fail(const Step& step, const std::string& error) {
  view_.error = error;
  Finish(step, JobState::kFailed, "");
}

void JobReporter::Cancel(const Step& step, const std::string& reason) {
  Finish(step, JobState::kCancelled, reason);
}

void JobReporter::Finish(const Step& step, JobState state, const std::string& message) {
  replaying_ = false;
  view_.state = state;
  view_.finished = step.now;
  view_.progress.waiting_for.clear();
  Publish(step, message, view_.results);
}

void JobReporter::UpdateProgress(TimeMs now) {
  ProgressView& progress = view_.progress;
  const double total = static_cast<double>(progress.total);
  const double done = std::min(total, static_cast<double>(done_) + in_flight_);
  rate_.Sample(now, done);
  progress.done = static_cast<int64_t>(done);
  progress.units_per_second = rate_.UnitsPerSecond();
  progress.eta_seconds = rate_.EtaSeconds(done, total);
}

void JobReporter::Publish(const Step& step, const std::string& message, ResultViews results) {
  UpdateProgress(step.now);
  throttle_.Published(step.now);
  changed_ = false;
  if (replaying_) return;
  step.actions->push_back(PublishEvent{.job = view_.id,
                                       .number = ++last_event_,
                                       .time = step.now,
                                       .state = view_.state,
                                       .progress = view_.progress,
                                       .message = message,
                                       .results = std::move(results),
                                       .error = view_.error});
}

}  // namespace espalier
