// The phases of `method: espalier` (docs/method.md, "Ranking" and "Allocation").
#include <algorithm>

#include "common/plan/allocation_counts.h"
#include "common/plan/model_cost.h"
#include "common/plan/phases.h"
#include "common/plan/ranking_cost.h"

namespace espalier {
namespace {

// What the dense model says to the text that candidates are scored on. Its predictions p and their
// sum Σ p E take two products with the head, in float32 whatever the job's precision.
PhasePlan Predictions(const PhasedJob& job) {
  const JobSpec& spec = job.spec();
  const auto sequences = static_cast<double>(spec.search_sequences());
  const int64_t length = spec.search_sequence_length();
  const double layer = sequences * LayerFlops(job.config, length, 1);
  const double head = 2 * sequences * HeadFlops(job.config, length);
  return {"predictions", job.layers() * layer + head,
          job.pace.Slowest(job.pace.Model(layer), job.pace.Wide(head))};
}

PhasePlan Rankings(const PhasedJob& job) {
  const RankingFlops layer =
      LayerRankingFlops(job.config, StepsOf(job.spec()), EffectPositions(job.spec()));
  const double head =
      HeadMetricFlops(job.config, job.spec().calibration_sequences * job.spec().sequence_length);
  return {"rankings", job.layers() * (layer.effects + layer.factors + layer.eliminations) + head,
          job.pace.Wide(head) +
              job.pace.AllLayers(job.pace.Wide(layer.effects) + job.pace.Algebra(layer.factors) +
                                 job.pace.AlgebraWide(layer.eliminations))};
}

// The closed form of all probes of a layer, each with one module to repair.
double ProbeRepairFlops(const ModelConfig& config, const LayerProbes& probes) {
  const auto d = static_cast<double>(config.hidden_size);
  double flops = 0;
  const auto add = [&](const std::vector<double>& shares, int64_t inputs) {
    const auto n = static_cast<double>(inputs);
    for (const double share : shares) flops += share > 0 ? RepairFlops(n, d, share * n) : 0;
  };
  add(probes.attention, QueryWidth(config));
  add(probes.mlp, config.intermediate_size);
  return flops;
}

// Every module of the dense model cut alone.
PhasePlan Sensitivities(const PhasedJob& job, SearchFigures* search) {
  const JobSpec& spec = job.spec();
  const Pace& pace = job.pace;
  const LayerProbes probes = ProbesOf(job.config, spec);
  const int64_t count = std::min(spec.allocation.sequences, spec.allocation.sensitivity_sequences);
  const auto sequences = static_cast<double>(count);
  const int64_t length = spec.search_sequence_length();
  double cut = 0;  // from a layer by all of its probes
  for (const double share : probes.attention) cut += AttentionFlops(job.config, length, 1 - share);
  for (const double share : probes.mlp) cut += MlpFlops(job.config, length, 1 - share);
  const int64_t candidates = job.config.num_layers * probes.count();
  const auto of_layer = static_cast<double>(probes.count());
  const double layer =
      sequences * (LayerFlops(job.config, length, 1) - cut / of_layer / job.layers());
  const double head = sequences * HeadFlops(job.config, length);
  const bool repairs = spec.repair().method != ReformationMethod::kNone;
  const double repair = repairs ? ProbeRepairFlops(job.config, probes) : 0;
  search->candidates += candidates;
  search->tokens += candidates * count * length;
  return {"sensitivities",
          static_cast<double>(candidates) * (job.layers() * layer + head) + job.layers() * repair,
          pace.Batch(candidates, pace.Slowest(pace.Model(layer), pace.Model(head))) +
              pace.AllLayers(pace.Algebra(repair, /*matrices=*/1)) / pace.replicas()};
}

PhasePlan Evolution(const PhasedJob& job, const JobSpec& size, SearchFigures* search) {
  const double share = UniformShare(job.config, size.ratio);
  const int64_t length = size.search_sequence_length();
  PhasePlan phase;
  SearchFigures own;
  double round_seconds = 0;
  int64_t round_candidates = 0;
  for (const CandidateBatch& batch : EvolutionOf(job.config, size)) {
    const auto sequences = static_cast<double>(batch.sequences);
    const double layer = sequences * LayerFlops(job.config, length, share);
    const double head = sequences * HeadFlops(job.config, length);
    const PhasePlan repair = Repair(job, size, batch.new_modules);
    const double slowest =
        job.pace.Slowest(job.pace.Model(layer), job.pace.Model(head)) + repair.seconds;
    const double seconds = job.pace.Batch(batch.candidates, slowest);
    const int64_t candidates = batch.batches * batch.candidates;
    phase.flops += static_cast<double>(candidates) * (job.layers() * layer + head + repair.flops);
    phase.seconds += static_cast<double>(batch.batches) * seconds;
    own.candidates += candidates;
    own.tokens += candidates * batch.sequences * length;
    if (batch.kind == CandidateBatch::Kind::kStart) continue;
    if (batch.kind == CandidateBatch::Kind::kOffspring) own.candidate_seconds = slowest;
    round_candidates += batch.candidates;
    round_seconds += seconds;
  }
  own.candidates_per_hour = 3600 * static_cast<double>(round_candidates) / round_seconds;
  search->candidates += own.candidates;
  search->tokens += own.tokens;
  // A larger subnet takes longer.
  if (own.candidate_seconds > search->candidate_seconds) {
    search->candidate_seconds = own.candidate_seconds;
    search->candidates_per_hour = own.candidates_per_hour;
  }
  return phase;
}

}  // namespace

std::vector<PhasePlan> RankingPhases(const PhasedJob& job) {
  return {Predictions(job), Rankings(job)};
}

std::vector<PhasePlan> AllocationPhases(const PhasedJob& job, SearchFigures* search) {
  const PhasePlan sensitivities = Sensitivities(job, search);
  PhasePlan evolution{.name = "search"};
  for (const JobSpec& size : job.sizes) {
    const PhasePlan one = Evolution(job, size, search);
    evolution.flops += one.flops;
    evolution.seconds += one.seconds;
  }
  return {sensitivities, evolution};
}

PhasePlan Repair(const PhasedJob& job, const JobSpec& size, double least) {
  const double share = UniformShare(job.config, size.ratio);
  const double layer = LayerReformationFlops(job.config, share, size.repair());
  const auto of_stage = static_cast<double>(job.pace.most_layers());
  const double bytes =
      of_stage * static_cast<double>(LayerRepairedBytes(job.config, share, size.precision));
  const double kept = static_cast<double>(RepairCacheBytes(job.config, size));
  const double lost = !job.scratch && bytes > kept ? 1 - kept / bytes : 0;
  const double modules = std::max(2 * job.layers() * lost, least);
  const double on_stage = modules * of_stage / job.layers();
  return {"", modules * layer / 2, job.pace.Algebra(on_stage * layer / 2, on_stage)};
}

}  // namespace espalier
