// Puts what services in this process log above the live progress line instead of through it.
#ifndef ESPALIER_CLIENT_LOG_SINK_H_
#define ESPALIER_CLIENT_LOG_SINK_H_

#include <memory>

#include "client/progress_reporter.h"

namespace spdlog {
class logger;
}

namespace espalier {

// While it lives, spdlog's default logger writes to `reporter`: everything with `verbose`,
// otherwise only what is critical, since the job's own events and its error say the rest. One at a
// time.
class LogsThrough {
 public:
  LogsThrough(ProgressReporter& reporter, bool verbose);
  ~LogsThrough();
  LogsThrough(const LogsThrough&) = delete;
  LogsThrough& operator=(const LogsThrough&) = delete;

 private:
  std::shared_ptr<spdlog::logger> previous_;
};

}  // namespace espalier

#endif  // ESPALIER_CLIENT_LOG_SINK_H_
