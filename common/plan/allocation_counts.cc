#include "common/plan/allocation_counts.h"

#include <algorithm>
#include <cstdlib>

#include "common/plan/ranking_cost.h"

namespace espalier {
namespace {

// One to three moves of two modules each, and what the room that is left goes to.
constexpr double kModulesMoved = 4;
// As worker/engine/repair_cache.h has it.
constexpr int64_t kRepairCacheBytes = int64_t{1} << 30;

// Of a module of `whole` units with cuts of these sizes, ascending.
std::vector<double> ProbedShares(const std::vector<int64_t>& sizes, int64_t whole) {
  std::vector<int64_t> probed = {0};
  for (const int64_t thirds : {1, 2}) {
    const auto nearest =
        std::min_element(sizes.begin(), sizes.end(), [&](int64_t one, int64_t other) {
          return std::abs(3 * one - thirds * whole) < std::abs(3 * other - thirds * whole);
        });
    if (nearest != sizes.end() && *nearest != probed.back()) probed.push_back(*nearest);
  }
  std::vector<double> shares;
  shares.reserve(probed.size());
  for (const int64_t size : probed) {
    shares.push_back(static_cast<double>(size) / static_cast<double>(whole));
  }
  return shares;
}

}  // namespace

LayerProbes ProbesOf(const ModelConfig& config, const JobSpec& spec) {
  const CutSteps steps = StepsOf(spec);
  return {.attention =
              ProbedShares(AttentionCutSizes(config, steps), config.num_kv_heads * config.pairs()),
          .mlp = ProbedShares(MlpCutSizes(config, steps), config.intermediate_size)};
}

std::vector<CandidateBatch> EvolutionOf(const ModelConfig& config, const JobSpec& spec) {
  const AllocationSpec& search = spec.allocation;
  const int64_t offspring = std::min(search.sequences, search.offspring_sequences);
  const int64_t finalists = std::min(search.sequences, search.finalist_sequences);
  const auto modules = static_cast<double>(2 * config.num_layers);
  using Kind = CandidateBatch::Kind;
  return {{.kind = Kind::kStart,
           .batches = 1,
           .candidates = 1,
           .sequences = finalists,
           .new_modules = modules},
          {.kind = Kind::kOffspring,
           .batches = search.generations,
           .candidates = search.offspring,
           .sequences = offspring,
           .new_modules = std::min(modules, kModulesMoved)},
          // The parent stands beside them.
          {.kind = Kind::kFinalists,
           .batches = search.generations,
           .candidates = std::min(search.offspring, search.finalists) + 1,
           .sequences = finalists}};
}

int64_t RepairCacheBytes(const ModelConfig& config, const JobSpec& spec) {
  return std::min(kRepairCacheBytes,
                  config.num_layers * LayerCutBytes(config, StepsOf(spec), spec.precision));
}

}  // namespace espalier
