// Who gets how many of the workers: a pure function of what the jobs ask for and what there is.
//
// Jobs of one model, precision, number of stages and calibration make one claim, because a replica
// serves all of them without loading or calibrating anything. Claims of the highest priority share
// the workers in proportion to how many jobs of that priority they have, each up to its demand;
// lower ones get what those cannot use. Workers that are still left go to whoever can make use of
// them beyond its demand.
//
// Stable: allotting again what was allotted changes nothing, so no worker loads a model in vain.
#ifndef ESPALIER_COORDINATOR_JOBS_ALLOTMENT_H_
#define ESPALIER_COORDINATOR_JOBS_ALLOTMENT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "coordinator/jobs/types.h"

namespace espalier {

struct Claim {
  int64_t priority = 0;
  int64_t jobs = 1;    // of that priority: its weight
  int64_t stages = 1;  // workers of a replica
  size_t demand = 0;   // replicas, while others want them too
  std::set<WorkerKey> eligible;
};

// A replica, as it is or as it is to be.
struct Allotted {
  std::vector<WorkerKey> workers;  // by stage
  std::optional<size_t> claim;     // index of the claim that it serves

  friend bool operator==(const Allotted&, const Allotted&) = default;
};

// `claims` by falling priority and, within one, the oldest first. `replicas` are those that there
// are, with disjoint workers. Returns those that there are to be, each with a claim; workers that
// appear in none serve nobody. Replicas that stay are the same in both.
std::vector<Allotted> Allot(const std::vector<Claim>& claims,
                            const std::vector<Allotted>& replicas);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_ALLOTMENT_H_
