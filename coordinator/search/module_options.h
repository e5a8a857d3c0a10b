// What may be left of each module of a model, by the ranking of its units: the alphabet of the
// allocation search.
//
// Modules are numbered 2·l for the attention of layer l and 2·l + 1 for its MLP. The options of one
// are sorted by size, then by error: first none of it, then the cuts of the ranking, last all of
// it.
#ifndef ESPALIER_COORDINATOR_SEARCH_MODULE_OPTIONS_H_
#define ESPALIER_COORDINATOR_SEARCH_MODULE_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/ranking.h"
#include "common/subnet.h"

namespace espalier::search {

struct ModuleOption {
  int64_t parameters = 0;  // of the linears and the norm; without units there is no norm either
  double error = 0;        // as in the ranking; 0 for all, 1 for an attention without units
  int64_t units = 0;       // kept channels, or pairs over all groups
  int32_t cut = -1;        // of LayerRanking::attention; -1 for none and all, and for an MLP
};

// An option of each module: [2·L] indices.
using Allocation = std::vector<int32_t>;

// Thread-safe.
class ModuleTable {
 public:
  // `channel_step` is what the ranking's MLPs are cut by (CutSteps::channels; target.align.mlp of a
  // resolved job). Modules that `cut` leaves whole have that option alone. INVALID_ARGUMENT, naming
  // the layer, for a ranking that isn't one of this model.
  static absl::StatusOr<ModuleTable> Create(const ModelConfig& config, const Ranking& ranking,
                                            int64_t channel_step,
                                            CutModules cut = CutModules::kBoth);

  size_t modules() const { return options_.size(); }
  static bool IsAttention(size_t module) { return module % 2 == 0; }
  // At least two of a module that may be cut; no two have the same masks.
  const std::vector<ModuleOption>& options(size_t module) const { return options_[module]; }
  // Of a present module without any cut.
  int64_t FullParameters(size_t module) const { return options_[module].back().parameters; }

  // Embeddings and final norm: what every subnet has.
  int64_t fixed_parameters() const { return fixed_parameters_; }
  int64_t dense_parameters() const { return dense_parameters_; }
  // As CountParameters of the subnet.
  int64_t Parameters(const Allocation& allocation) const;
  Allocation Dense() const;

  // Gives the module of the subnet this option's masks.
  void Apply(size_t module, int32_t option, Subnet& subnet) const;
  Subnet Build(const Allocation& allocation) const;

 private:
  ModuleTable(const ModelConfig& config, const Ranking& ranking, int64_t channel_step,
              CutModules cut);

  ModelConfig config_;
  Ranking ranking_;
  int64_t dense_parameters_;
  int64_t fixed_parameters_;
  std::vector<std::vector<ModuleOption>> options_;  // [2·L]
};

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_MODULE_OPTIONS_H_
