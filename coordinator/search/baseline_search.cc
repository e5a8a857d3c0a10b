#include "coordinator/search/baseline_search.h"

#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "coordinator/search/baseline_subnet.h"
#include "coordinator/search/population.h"

namespace espalier {
namespace {

class BaselineSearch final : public SubnetSearch {
 public:
  explicit BaselineSearch(Subnet subnet) : initial_(std::move(subnet)) {
    Candidate& candidate = candidates_.emplace_back();
    candidate.subnet = initial_;
    candidate.fingerprint = Fingerprint(initial_);
  }

  const Subnet& initial() const override { return initial_; }
  bool Done() const override { return candidates_.empty(); }
  int64_t most_candidates() const override { return 1; }
  bool DrawNext() override { return false; }  // it is there from the beginning
  const std::vector<Candidate>& Drawn() const override { return candidates_; }
  const ScoredCandidate& best() const override { return survivors_.front(); }
  const std::vector<ScoredCandidate>& survivors() const override { return survivors_; }

  absl::Status Report(const std::vector<double>& fitness) override {
    ESPALIER_RETURN_IF_ERROR(search::CheckFitness(candidates_, fitness));
    survivors_ = {{.candidate = std::move(candidates_.front()), .fitness = fitness.front()}};
    candidates_.clear();
    return absl::OkStatus();
  }

 private:
  const Subnet initial_;
  std::vector<Candidate> candidates_;  // the one, until it was scored
  std::vector<ScoredCandidate> survivors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SubnetSearch>> MakeBaselineSearch(const ModelConfig& config,
                                                                 const JobSpec& spec,
                                                                 const UnitScores& scores) {
  ESPALIER_ASSIGN_OR_RETURN(Subnet subnet, spec.method == SearchMethod::kRandom
                                               ? RandomSubnet(config, spec, spec.seed)
                                               : search::BaselineSubnet(config, spec, scores));
  return std::make_unique<BaselineSearch>(std::move(subnet));
}

}  // namespace espalier
