#include "common/plan/job_memory.h"

#include <algorithm>

#include "common/plan/allocation_counts.h"
#include "common/plan/model_cost.h"
#include "common/plan/ranking_cost.h"
#include "common/plan/working_memory.h"

namespace espalier {
namespace {

// Subnets whose repaired modules a worker holds: the last two, and the one that is being repaired.
constexpr int64_t kRepairedSubnets = 3;
constexpr int64_t kFloat = 4;

class Needs {
 public:
  Needs(const ModelConfig& config, const JobSpec& spec, const DeviceSpec& device)
      : config_(config),
        spec_(spec),
        device_(device),
        share_(UniformShare(config, spec.ratio)),
        allocates_(spec.method == SearchMethod::kEspalier) {}

  JobMemory All() const {
    JobMemory memory;
    memory.layer = device_.gpu ? std::max(LayerGramBytes(config_), NewWeights())
                               : LayerStatistics() + NewWeights();
    memory.tail = allocates_ ? PredictionBytes(config_, spec_) : 0;
    memory.stage = allocates_ ? RepairCacheBytes(config_, spec_) : 0;
    memory.working = (device_.gpu ? 0 : kProcessBytes) + std::max(Running(), Factorising());
    memory.host_layer = device_.gpu ? LayerStatistics() : 0;
    return memory;
  }

 private:
  bool Progressive() const { return spec_.reformation.method == ReformationMethod::kProgressive; }

  // Gram matrices, which go from a GPU to the host once they are complete, and the inputs that pair
  // effects are measured on; calibration keeps these for either method.
  int64_t LayerStatistics() const {
    return LayerGramBytes(config_) + EffectPositions(spec_) * config_.hidden_size * kFloat;
  }

  int64_t NewWeights() const {
    return (allocates_ ? kRepairedSubnets * (LayerRepairedBytes(config_, share_, spec_.precision) +
                                             LayerInPlaceBytes(config_, share_, spec_.precision))
                       : LayerReformedBytes(config_, share_)) +
           (Progressive() ? LayerProgressiveBytes(config_, share_, spec_.precision) : 0);
  }

  int64_t Forward(int64_t length, bool observed) const {
    return ScratchBytes(config_, spec_.precision) +
           ActivationBytes(config_, spec_.precision, device_, length, observed);
  }

  // The phases that run layers.
  int64_t Running() const {
    const int64_t observed =
        Forward(spec_.sequence_length, true) + GramWorkspace(config_, spec_.precision, device_);
    int64_t most = std::max(Forward(spec_.sequence_length, false), observed);
    if (allocates_) {
      // The predictions of all batches are joined at the end.
      most =
          std::max({most, Effects(), HeadMetricWorkspace(config_, device_) + Buffers(),
                    Forward(spec_.search_sequence_length(), false) +
                        PredictionWorkspace(config_, device_) + PredictionBytes(config_, spec_)});
    }
    if (Progressive()) {
      most = std::max(most, Forward(spec_.sequence_length, false) + StreamBytes(config_, spec_) +
                                ProgressiveWorkspace(config_, share_, spec_, device_));
    }
    return most;
  }

  int64_t Effects() const {
    return EffectWorkspace(config_, EffectPositions(spec_), device_.threads) + Buffers();
  }

  // The phases that factorise matrices.
  int64_t Factorising() const {
    int64_t most = std::max(ImportanceWorkspace(config_, device_),
                            ReformationWorkspace(config_, share_, spec_.reformation, device_));
    if (allocates_) {
      most = std::max({most, EliminationWorkspace(config_, device_),
                       ReformationWorkspace(config_, share_, spec_.repair(), device_)});
    }
    return most + Buffers();
  }

  // What the CPU path needs for a layer it keeps for the next one.
  int64_t Buffers() const { return device_.gpu ? 0 : Forward(spec_.sequence_length, false); }

  const ModelConfig& config_;
  const JobSpec& spec_;
  const DeviceSpec& device_;
  const double share_;
  const bool allocates_;
};

}  // namespace

JobMemory MemoryOfSize(const ModelConfig& config, const JobSpec& spec, const DeviceSpec& device) {
  return Needs(config, spec, device).All();
}

JobMemory MemoryOf(const ModelConfig& config, const JobSpec& spec, const DeviceSpec& device) {
  JobMemory most;
  for (const JobSpec& size : TargetSpecs(spec)) {
    const JobMemory memory = MemoryOfSize(config, size, device);
    for (const auto part : {&JobMemory::layer, &JobMemory::tail, &JobMemory::stage,
                            &JobMemory::working, &JobMemory::host_layer}) {
      most.*part = std::max(most.*part, memory.*part);
    }
  }
  return most;
}

}  // namespace espalier
