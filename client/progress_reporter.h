// Shows a job's events while they arrive: a live line on a terminal, single lines in a log.
#ifndef ESPALIER_CLIENT_PROGRESS_REPORTER_H_
#define ESPALIER_CLIENT_PROGRESS_REPORTER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string_view>

#include "client/progress_view.h"
#include "espalier/v1/jobs.pb.h"

namespace espalier {

// Thread-safe.
class ProgressReporter {
 public:
  virtual ~ProgressReporter() = default;
  virtual void OnEvent(const v1::JobEvent& event) = 0;
  // A line for people, above the live line.
  virtual void Note(std::string_view line) = 0;
  // No more events: leaves the cursor at the start of an empty line. Idempotent.
  virtual void Finish() = 0;
};

using SteadyClock = std::function<std::chrono::steady_clock::time_point()>;

// Shows nothing.
std::unique_ptr<ProgressReporter> MakeQuietReporter();

// One line when a phase begins and one when it ends, in between at most one in `interval`.
std::unique_ptr<ProgressReporter> MakePlainReporter(std::ostream& out, SteadyClock clock,
                                                    std::chrono::milliseconds interval);

// One live line, redrawn at most ten times a second, that becomes a fixed line when its phase ends.
// `view` is asked before each drawing, since a window may be resized.
std::unique_ptr<ProgressReporter> MakeTerminalReporter(std::ostream& out, SteadyClock clock,
                                                       std::function<ViewOptions()> view);

// The right one of the three for this process's stderr.
std::unique_ptr<ProgressReporter> MakeStderrReporter(bool quiet);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_PROGRESS_REPORTER_H_
