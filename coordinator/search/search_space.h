// The legal subnets of a job: which sizes the modules may have, how many layers must be present,
// and how many parameters may remain (docs/method.md, "Search").
#ifndef ESPALIER_COORDINATOR_SEARCH_SEARCH_SPACE_H_
#define ESPALIER_COORDINATOR_SEARCH_SEARCH_SPACE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/subnet.h"
#include "coordinator/search/module_space.h"
#include "coordinator/search/step_plan.h"

namespace espalier::search {

// The sizes of a layer's modules; a layer is present with both or dropped with both.
struct LayerLevels {
  static constexpr int kAbsent = -1;

  int attention = kAbsent;
  int mlp = kAbsent;

  bool present() const { return attention != kAbsent; }
  friend bool operator==(const LayerLevels&, const LayerLevels&) = default;
};

using Levels = std::vector<LayerLevels>;  // [L]

int64_t PresentLayers(const Levels& levels);
std::vector<int64_t> LayersWhere(const Levels& levels, bool present);

// Parameter counts whose ratio to `dense` lies in [γ − tolerance, γ].
ParameterRange LegalRange(const JobSpec& spec, int64_t dense);

// Thread-safe.
class SearchSpace {
 public:
  // `spec` has its defaults resolved. INVALID_ARGUMENT for values out of range, and when no subnet
  // of the space has a legal ratio: says what is nearest and what to relax.
  static absl::StatusOr<std::unique_ptr<const SearchSpace>> Create(const ModelConfig& config,
                                                                   const JobSpec& spec);
  SearchSpace(const SearchSpace&) = delete;
  SearchSpace& operator=(const SearchSpace&) = delete;

  const ModuleSpace& attention() const { return attention_; }
  const ModuleSpace& mlp() const { return mlp_; }
  const StepPlanner& planner() const { return planner_; }
  int64_t num_layers() const { return num_layers_; }

  // Legal totals of parameters: ratio in [γ − tolerance, γ].
  const ParameterRange& range() const { return range_; }
  // Legal totals of the modules alone when `layers` layers are present.
  ParameterRange ModuleRange(int64_t layers) const;
  int64_t Parameters(const Levels& levels) const;

  // Whether sizes exist that make a subnet of `layers` layers legal.
  bool Reachable(int64_t layers) const;
  // The nearest such number of layers below or above, or `layers` itself when there is none.
  int64_t NextBelow(int64_t layers) const;
  int64_t NextAbove(int64_t layers) const;
  // The largest such number.
  int64_t MostLayers() const { return NextBelow(num_layers_ + 1); }

  // Of a subnet whose sizes are legal.
  Levels LevelsOf(const Subnet& subnet) const;

 private:
  SearchSpace(const ModelConfig& config, const JobSpec& spec);
  absl::Status CheckReachable(const JobSpec& spec) const;
  absl::Status TooSmallTarget(const JobSpec& spec, int64_t smallest) const;
  absl::Status TooNarrowWindow(const JobSpec& spec, int64_t nearest) const;
  double Ratio(int64_t parameters) const;

  int64_t num_layers_;
  int64_t min_layers_;
  int64_t dense_parameters_;
  int64_t fixed_parameters_;  // embedding, head, final norm
  int64_t layer_parameters_;  // the two norms of a present layer
  ParameterRange range_;
  ModuleSpace attention_;
  ModuleSpace mlp_;
  StepPlanner planner_;
  std::vector<bool> reachable_;  // [L + 1], by number of present layers
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_SEARCH_SPACE_H_
