// A simulated cluster around a Brain: workers, streams with latency, and faults, all from one seed
// and on a fake clock.
//
// Streams deliver in order, as TCP does; across streams anything can overtake anything. Faults:
// crashes (the stream breaks, what was under way is lost), silent deaths and stops longer than the
// lease (the worker comes back and sends what it had), goodbyes, errors, answers sent twice,
// answers under an old epoch, answers to other workers' tasks, malformed answers; and deaths of the
// coordinator, at any moment.
//
// What the brain wants done is stored in one transaction a step, and carried out only then. A dead
// coordinator loses what was not stored; the next one begins with what was.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_SIMULATION_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_SIMULATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/testing/sabotage.h"

namespace espalier::testing_fakes {

struct SimulationOptions {
  uint64_t seed = 0;
  int workers = 1;
  int jobs = 1;
  int stages = 1;             // of every job
  bool allocation = false;    // jobs of method espalier
  int sizes = 1;              // of every job
  bool same_search = false;   // the jobs have the same seed, and so the same candidates
  bool other_models = false;  // each job has a model of its own
  bool other_texts = false;   // … a text to calibrate on of its own
  bool priorities = false;    // the jobs differ in priority
  // Jobs are paused and resumed, and workers drained, at random times.
  bool interfere = false;
  // Probability that something goes wrong at one of the points where it can.
  double fault_rate = 0;
  // Probability that the coordinator dies after a step, before or after the step is stored.
  double crash_rate = 0;
  bool cancel_one = false;          // cancels the first job at a random time
  MakeSabotage sabotage = nullptr;  // breaks the coordinator on purpose
};

struct SimulatedJob {
  JobState state = JobState::kQueued;
  std::string error;
  std::string population;   // the logs' bytes, of all sizes one after the other
  std::string subnet_json;  // likewise; empty: no result
  int64_t events = 0;
};

struct SimulationResult {
  std::vector<SimulatedJob> jobs;
  // Broken invariants, in words; empty when all is well. The simulation ends with the first step
  // that breaks one.
  std::vector<std::string> violations;
  int64_t faults = 0;   // that were injected
  int64_t crashes = 0;  // of the coordinator
  int64_t steps = 0;
  int64_t candidates = 0;  // tasks that evaluated one
};

SimulationResult Simulate(const SimulationOptions& options);

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_SIMULATION_H_
