// Coordinators that are broken on purpose, to show that the simulation notices.
//
// A sabotage stands between the brain and the simulated cluster and changes what passes, as the bug
// would that it is named after. The brain itself is the real one.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_SABOTAGE_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_SABOTAGE_H_

#include <memory>

#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/brain.h"

namespace espalier::testing_fakes {

// This one changes nothing. It lives as long as the simulation, across deaths of the coordinator.
class Sabotage {
 public:
  virtual ~Sabotage() = default;

  virtual void AtStart(BrainOptions&) {}
  virtual void OnRestore(StoredJob&) {}
  virtual void OnEvent(Event&) {}        // before the brain hears of it
  virtual void OnActions(Actions&) {}    // of a step, before anything of it is stored
  virtual bool IsHasty(const Action&) {  // carried out without waiting for the store
    return false;
  }
};

using MakeSabotage = std::unique_ptr<Sabotage> (*)();

// Leases end never.
std::unique_ptr<Sabotage> WithoutLeases();
// What a worker says after its lease counts, for whoever has the work now.
std::unique_ptr<Sabotage> TakesAnswersOfTheDead();
// Answers count under any epoch.
std::unique_ptr<Sabotage> IgnoresEpochs();
// An answer that comes twice counts for the worker's next task.
std::unique_ptr<Sabotage> TakesAnswersTwice();
// Workers are thanked before the store has their answer.
std::unique_ptr<Sabotage> AcknowledgesBeforeCommit();
// Some answers are thanked for and never stored.
std::unique_ptr<Sabotage> StoresNotAll();
// Some answers are stored twice.
std::unique_ptr<Sabotage> StoresTwice();
// The store loses its last answer when the coordinator dies, as without fsync.
std::unique_ptr<Sabotage> LosesTheLastWrite();
// A coordinator that was started again uses the task ids and epochs of the one before.
std::unique_ptr<Sabotage> ForgetsItsLife();
// Some generations are written to the population log twice.
std::unique_ptr<Sabotage> CountsCandidatesTwice();
// Some answers are not heard.
std::unique_ptr<Sabotage> LosesAnswers();

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_SABOTAGE_H_
