// Where a job gets its search from: coordinator/search, or a test's fake.
#ifndef ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_
#define ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/search/allocation_search.h"
#include "coordinator/search/baseline_search.h"
#include "coordinator/search/search.h"

namespace espalier {

class SearchFactory {
 public:
  virtual ~SearchFactory() = default;
  // `ranking` is empty unless the specification's method needs one.
  virtual absl::StatusOr<std::unique_ptr<SubnetSearch>> Create(const ModelConfig& config,
                                                               const JobSpec& spec,
                                                               const UnitScores& scores,
                                                               const Ranking& ranking) const = 0;
};

// The real ones.
class SubnetSearchFactory : public SearchFactory {
 public:
  absl::StatusOr<std::unique_ptr<SubnetSearch>> Create(const ModelConfig& config,
                                                       const JobSpec& spec,
                                                       const UnitScores& scores,
                                                       const Ranking& ranking) const override {
    if (IsBaseline(spec.method)) return MakeBaselineSearch(config, spec, scores);
    return spec.method == SearchMethod::kPaper ? MakePaperSearch(config, spec, scores)
                                               : MakeAllocationSearch(config, spec, ranking);
  }
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_
