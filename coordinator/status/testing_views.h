// Views for the tests of this folder.
#ifndef ESPALIER_COORDINATOR_STATUS_TESTING_VIEWS_H_
#define ESPALIER_COORDINATOR_STATUS_TESTING_VIEWS_H_

#include <memory>
#include <string>

#include "coordinator/status/source.h"

namespace espalier {

inline JobView MakeJob(JobId id, JobState state, const std::string& name = "tiny") {
  JobSpec spec;
  spec.name = name;
  spec.model = "/models/tiny";
  spec.output = "/out/tiny";
  spec.ratio = 0.7;
  JobView job;
  job.id = id;
  job.state = state;
  job.created = 1000;
  job.finished = IsFinal(state) ? 4000 : 0;
  job.spec = std::make_shared<const JobSpec>(spec);
  return job;
}

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_TESTING_VIEWS_H_
