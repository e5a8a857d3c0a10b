// A tiny model, a fake search and fake answers for tests of the coordinator: all deterministic.
#ifndef ESPALIER_COORDINATOR_JOBS_TESTING_FAKES_H_
#define ESPALIER_COORDINATOR_JOBS_TESTING_FAKES_H_

#include <memory>
#include <string>

#include "coordinator/jobs/actions.h"
#include "coordinator/jobs/search_factory.h"
#include "coordinator/jobs/types.h"

namespace espalier::testing_fakes {

ModelConfig TinyConfig();
// A valid specification with few, small generations. Nothing that it names exists.
JobSpec TinySpec(uint64_t seed, const std::string& output, bool held_out = true);
// Of method espalier, whose search is the real one.
JobSpec TinyAllocationSpec(uint64_t seed, const std::string& output, bool held_out = true);
// Another text has another calibration; what is searched and measured on is the same.
PreparedJob Prepared(const JobSpec& spec);
// Can be a stage.
WorkerInfo Info(const std::string& name);
inline constexpr char kTestVersion[] = "1.2.3";

// `generations` × `population()` candidates; each generation's subnets depend on the seed and on
// every fitness value reported before, so one wrong value changes all that follows.
class FakeSearchFactory : public SearchFactory {
 public:
  absl::StatusOr<std::unique_ptr<SubnetSearch>> Create(const ModelConfig& config,
                                                       const JobSpec& spec,
                                                       const UnitScores& scores,
                                                       const Ranking&) const override;
};

// What loading a part of the model with TinyConfig's shape at `path` finds.
ModelDigest FakeDigest(const std::string& path, const StageRange& stage);
// The right answer to a task: a pure function of it.
Outcome FakeAnswer(const SendTask& task);

}  // namespace espalier::testing_fakes

#endif  // ESPALIER_COORDINATOR_JOBS_TESTING_FAKES_H_
