#include "client/progress_reporter.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "client/format.h"
#include "client/progress_view.h"
#include "client/terminal.h"
#include "common/mutex.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

class QuietReporter final : public ProgressReporter {
 public:
  void OnEvent(const v1::JobEvent&) override {}
  void Note(std::string_view) override {}
  void Finish() override {}
};

// Finds the beginnings and ends of phases in the stream of events. Times are the coordinator's, so
// that following a job late shows the same as following it live.
class PhaseTracker {
 public:
  struct Step {
    bool phase_ended = false;
    v1::Progress ended;  // the last progress of the phase that ended
    double seconds = 0;
    PhaseOutcome outcome = PhaseOutcome::kDone;
    bool phase_began = false;
  };

  Step Take(const v1::JobEvent& event) {
    Step step;
    const v1::Progress& progress = event.progress();
    const bool final = IsFinal(event.state());
    const bool other =
        progress.phase() != v1::JOB_PHASE_UNSPECIFIED && progress.phase() != current_.phase();
    if (final && !other && event.has_progress()) current_ = progress;
    if (in_phase() && (other || final)) {
      step.phase_ended = true;
      step.ended = current_;
      step.seconds = std::max<double>(0, event.unix_ms() - began_ms_) / 1000;
      if (final && event.state() != v1::JOB_STATE_SUCCEEDED) {
        step.outcome = PhaseOutcome::kStopped;
      }
    }
    if (final) {
      current_ = v1::Progress();
    } else if (event.has_progress()) {
      if (other) began_ms_ = event.unix_ms();
      step.phase_began = other;
      current_ = progress;
    }
    return step;
  }

  // Of the running phase, or of the queue; without a phase after the job's end.
  const v1::Progress& current() const { return current_; }
  bool in_phase() const { return current_.phase() != v1::JOB_PHASE_UNSPECIFIED; }

 private:
  v1::Progress current_;
  int64_t began_ms_ = 0;
};

class PlainReporter final : public ProgressReporter {
 public:
  PlainReporter(std::ostream& out, SteadyClock clock, milliseconds interval)
      : out_(out), clock_(std::move(clock)), interval_(interval) {}

  void OnEvent(const v1::JobEvent& event) override {
    MutexLock lock(&mutex_);
    const PhaseTracker::Step step = tracker_.Take(event);
    if (step.phase_ended) {
      Line(RenderFinishedPhase(step.ended, step.seconds, step.outcome, {.width = 1000}));
    }
    if (!event.message().empty() && !RepeatsProgress(event)) Line(Printable(event.message()));
    if (IsFinal(event.state())) return;
    const Clock::time_point now = clock_();
    const bool waiting_changed = event.progress().waiting_for() != waiting_for_;
    if (step.phase_began || waiting_changed || !last_ || now - *last_ >= interval_) {
      last_ = now;
      waiting_for_ = event.progress().waiting_for();
      Line(RenderPlainLine(tracker_.current()));
    }
  }

  void Note(std::string_view line) override {
    MutexLock lock(&mutex_);
    Line(line);
  }

  void Finish() override {}

 private:
  void Line(std::string_view line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    out_ << line << '\n' << std::flush;
  }

  std::ostream& out_;
  const SteadyClock clock_;
  const milliseconds interval_;
  Mutex mutex_;
  PhaseTracker tracker_ ABSL_GUARDED_BY(mutex_);
  std::string waiting_for_ ABSL_GUARDED_BY(mutex_);
  std::optional<Clock::time_point> last_ ABSL_GUARDED_BY(mutex_);
};

class TerminalReporter final : public ProgressReporter {
 public:
  TerminalReporter(std::ostream& out, SteadyClock clock, std::function<ViewOptions()> view)
      : out_(out), clock_(std::move(clock)), view_(std::move(view)) {}
  ~TerminalReporter() override { Finish(); }

  void OnEvent(const v1::JobEvent& event) override {
    MutexLock lock(&mutex_);
    const PhaseTracker::Step step = tracker_.Take(event);
    if (step.phase_ended) {
      Above(RenderFinishedPhase(step.ended, step.seconds, step.outcome, view_()));
    }
    if (!event.message().empty() && !RepeatsProgress(event)) {
      Above(Truncate(Printable(event.message()), view_().width));
    }
    if (IsFinal(event.state())) return Erase();
    const Clock::time_point now = clock_();
    if (!live_ || step.phase_began || now - last_ >= kRedraw) Draw(now);
  }

  void Note(std::string_view line) override {
    MutexLock lock(&mutex_);
    const bool was_live = live_;
    Above(line);
    if (was_live) Draw(clock_());
  }

  void Finish() override {
    MutexLock lock(&mutex_);
    Erase();
  }

 private:
  static constexpr milliseconds kRedraw{100};

  void Draw(Clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    last_ = now;
    live_ = true;
    out_ << "\r" << RenderProgressLine(tracker_.current(), view_()) << "\x1b[K" << std::flush;
  }

  void Erase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (live_) out_ << "\r\x1b[K" << std::flush;
    live_ = false;
  }

  // Puts a line in the place of the live one; the next drawing comes below.
  void Above(std::string_view line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Erase();
    out_ << line << '\n' << std::flush;
  }

  std::ostream& out_;
  const SteadyClock clock_;
  const std::function<ViewOptions()> view_;
  Mutex mutex_;
  PhaseTracker tracker_ ABSL_GUARDED_BY(mutex_);
  bool live_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::time_point last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<ProgressReporter> MakeQuietReporter() { return std::make_unique<QuietReporter>(); }

std::unique_ptr<ProgressReporter> MakePlainReporter(std::ostream& out, SteadyClock clock,
                                                    milliseconds interval) {
  return std::make_unique<PlainReporter>(out, std::move(clock), interval);
}

std::unique_ptr<ProgressReporter> MakeTerminalReporter(std::ostream& out, SteadyClock clock,
                                                       std::function<ViewOptions()> view) {
  return std::make_unique<TerminalReporter>(out, std::move(clock), std::move(view));
}

std::unique_ptr<ProgressReporter> MakeStderrReporter(bool quiet) {
  if (quiet) return MakeQuietReporter();
  if (!StderrIsTerminal()) {
    return MakePlainReporter(std::cerr, Clock::now, std::chrono::seconds(5));
  }
  return MakeTerminalReporter(std::cerr, Clock::now, [] {
    // One column less: a terminal wraps when the last one is filled.
    return ViewOptions{.width = StderrWidth() - 1, .colour = StderrHasColour()};
  });
}

}  // namespace espalier
