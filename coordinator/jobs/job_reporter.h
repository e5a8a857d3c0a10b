// What the world sees of one job: its state, progress and numbered events.
#ifndef ESPALIER_COORDINATOR_JOBS_JOB_REPORTER_H_
#define ESPALIER_COORDINATOR_JOBS_JOB_REPORTER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/progress.h"

namespace espalier {

// Event numbers start at 1 and have no gaps. Every change of state or phase and every message is an
// event at once; mere progress is throttled (EventThrottle).
class JobReporter {
 public:
  JobReporter(JobId id, std::shared_ptr<const JobSpec> spec, TimeMs now);

  // A job of an earlier life goes on from its last event.
  void Restore(uint64_t last_event, JobState state, const ProgressView& progress);
  // Around a replay, whose events were published before and are not again: progress begins from
  // nothing; afterwards rates do. Only an end of the job is an event meanwhile.
  void BeginReplay();
  void EndReplay(TimeMs now);
  void SetSpec(std::shared_ptr<const JobSpec> spec) { view_.spec = std::move(spec); }
  void Activate(const Step& step);  // QUEUED → RUNNING; nothing when it runs already
  // QUEUED or RUNNING → PAUSED → QUEUED; nothing from any other state.
  void Pause(const Step& step);
  void Unpause(const Step& step);
  void StartPhase(const Step& step, JobPhase phase, int64_t total, std::string unit,
                  const std::string& message);
  void Message(const Step& step, const std::string& message);
  // An event when it changed. Empty: work goes on.
  void SetWaiting(const Step& step, const std::string& waiting_for);

  // These show with the next event.
  void AddDone(int64_t units);
  void SetTotal(int64_t total);
  void SetGeneration(int64_t generation) { view_.progress.generation = generation; }
  void ImproveBest(double perplexity, double ratio);  // ignored unless it is better
  void SetBest(double perplexity, double ratio);

  // Whether it is time for an event of mere progress.
  bool MayPublishProgress(TimeMs now) const { return throttle_.Ready(now); }
  // An event if anything changed. `in_flight`: units that workers report of unfinished tasks.
  void PublishProgress(const Step& step, double in_flight);

  // Which size comes now, of how many; the best perplexity begins anew.
  void StartSize(int64_t size, int64_t sizes);
  // A size is finished, and not the last.
  void AddResult(const Step& step, std::shared_ptr<const ResultView> result,
                 const std::string& message);

  // The last event; the job must be unfinished.
  void Succeed(const Step& step, std::shared_ptr<const ResultView> result,
               const std::string& message);
  void Fail(const Step& step, const std::string& error);
  void Cancel(const Step& step, const std::string& reason);

  const JobView& view() const { return view_; }

 private:
  void Finish(const Step& step, JobState state, const std::string& message);
  void UpdateProgress(TimeMs now);
  void Publish(const Step& step, const std::string& message, ResultViews results = {});

  JobView view_;
  RateMeter rate_;
  EventThrottle throttle_;
  int64_t done_ = 0;      // units of finished work
  double in_flight_ = 0;  // units of unfinished work
  bool changed_ = false;
  uint64_t last_event_ = 0;
  bool replaying_ = false;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_JOB_REPORTER_H_
