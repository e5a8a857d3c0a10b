// How far a phase is, how fast it goes, and when it is worth an event.
#ifndef ESPALIER_COORDINATOR_JOBS_PROGRESS_H_
#define ESPALIER_COORDINATOR_JOBS_PROGRESS_H_

#include <cstdint>
#include <deque>

#include "coordinator/jobs/types.h"

namespace espalier {

// Rate and remaining time from the recent past, so that workers that join or leave show.
class RateMeter {
 public:
  void Start(TimeMs now, double done = 0);
  // `done` units, fractions included, at `now`.
  void Sample(TimeMs now, double done);
  double UnitsPerSecond() const;  // 0: not known yet
  double EtaSeconds(double done, double total) const;

 private:
  struct Point {
    TimeMs time = 0;
    double done = 0;
  };
  std::deque<Point> points_;
};

// Lets progress events through at growing distances: at least 100 ms, at least 1/500 of the time
// since Start. So a phase of any length makes a bounded number of them (500 per e-fold of time).
class EventThrottle {
 public:
  void Start(TimeMs now);
  bool Ready(TimeMs now) const;
  void Published(TimeMs now) { last_ = now; }

 private:
  TimeMs start_ = 0;
  TimeMs last_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_PROGRESS_H_
