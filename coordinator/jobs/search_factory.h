// Where a job gets its search from: coordinator/search, or a test's fake.
#ifndef ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_
#define ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "coordinator/search/search.h"

namespace espalier {

class SearchFactory {
 public:
  virtual ~SearchFactory() = default;
  // As EvolutionarySearch::Create.
  virtual absl::StatusOr<std::unique_ptr<EvolutionarySearch>> Create(
      const ModelConfig& config, const JobSpec& spec, const UnitScores& scores) const = 0;
};

// EvolutionarySearch::Create itself.
class EvolutionarySearchFactory : public SearchFactory {
 public:
  absl::StatusOr<std::unique_ptr<EvolutionarySearch>> Create(
      const ModelConfig& config, const JobSpec& spec, const UnitScores& scores) const override {
    return EvolutionarySearch::Create(config, spec, scores);
  }
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_SEARCH_FACTORY_H_
