#include "common/plan/phases.h"

#include <utility>

#include "common/plan/model_cost.h"
#include "common/plan/progressive_cost.h"

namespace espalier {
namespace {

bool IsProgressive(const JobSpec& size) {
  return size.reformation.method == ReformationMethod::kProgressive;
}

void Add(const PhasePlan& part, PhasePlan* phase) {
  phase->flops += part.flops;
  phase->seconds += part.seconds;
}

// Calibration and what follows from it are one task each, of one replica.
std::vector<PhasePlan> CalibrationPhases(const PhasedJob& job) {
  const JobSpec& spec = job.spec();
  const Pace& pace = job.pace;
  const double layer = static_cast<double>(spec.calibration_sequences) *
                       LayerFlops(job.config, spec.sequence_length, 1);
  const double gram =
      LayerGramFlops(job.config, spec.calibration_sequences * spec.sequence_length, pace.gpu());
  const double importance = LayerImportanceFlops(job.config);
  return {{"calibration", job.layers() * layer, pace.AllLayers(pace.Model(layer))},
          {"Gram matrices", job.layers() * gram, pace.AllLayers(pace.Model(gram))},
          {"importance", job.layers() * importance, pace.AllLayers(pace.Algebra(importance))}};
}

std::vector<PhasePlan> PaperSearch(const PhasedJob& job, SearchFigures* search) {
  PhasePlan phase{.name = "search"};
  for (const JobSpec& size : job.sizes) {
    const double share = UniformShare(job.config, size.ratio);
    const auto sequences = static_cast<double>(size.search.sequences);
    const double layer = sequences * LayerFlops(job.config, size.sequence_length, share);
    const double head = sequences * HeadFlops(job.config, size.sequence_length);
    const int64_t population = size.search.population();
    const int64_t candidates = size.search.generations * population;
    const double slowest = job.pace.Slowest(job.pace.Model(layer), job.pace.Model(head));
    const double generation = job.pace.Batch(population, slowest);
    phase.flops += static_cast<double>(candidates) * (job.layers() * layer + head);
    phase.seconds += static_cast<double>(size.search.generations) * generation;
    search->candidates += candidates;
    search->tokens += candidates * size.search.sequences * size.sequence_length;
    // A larger subnet takes longer.
    if (slowest <= search->candidate_seconds) continue;
    search->candidate_seconds = slowest;
    search->candidates_per_hour = 3600 * static_cast<double>(population) / generation;
  }
  return {phase};
}

PhasePlan Progressive(const PhasedJob& job, const JobSpec& size) {
  const Pace& pace = job.pace;
  const ProgressiveFlops layer =
      LayerProgressiveFlops(job.config, UniformShare(job.config, size.ratio),
                            size.calibration_sequences, size.sequence_length, pace.gpu());
  const double weights =
      pace.gpu() ? pace.Wide(layer.weights) : pace.AlgebraWide(layer.weights, /*matrices=*/1);
  // One stage after another.
  return {.name = "",
          .flops = job.layers() * layer.sum(),
          .seconds = job.layers() * (pace.Model(layer.passes + layer.products) + weights +
                                     pace.Algebra(layer.solves, /*matrices=*/1))};
}

PhasePlan Reformation(const PhasedJob& job) {
  PhasePlan phase{.name = "reformation"};
  for (const JobSpec& size : job.sizes) {
    const bool repaired = size.method == SearchMethod::kEspalier &&
                          size.reformation.method != ReformationMethod::kNone &&
                          size.reformation.method != ReformationMethod::kAdmm;
    if (repaired) {
      Add(Repair(job, size, 0), &phase);
    } else {
      const double layer =
          LayerReformationFlops(job.config, UniformShare(job.config, size.ratio), size.reformation);
      Add({"", job.layers() * layer, job.pace.AllLayers(job.pace.Algebra(layer))}, &phase);
    }
    if (IsProgressive(size)) Add(Progressive(job, size), &phase);
  }
  return phase;
}

// `sequences` through a subnet, over so many replicas.
PhasePlan Scoring(const PhasedJob& job, int64_t sequences, int64_t length, double share,
                  double replicas) {
  const auto count = static_cast<double>(sequences);
  const double layer = count * LayerFlops(job.config, length, share);
  const double head = count * HeadFlops(job.config, length);
  return {"", job.layers() * layer + head,
          job.pace.Slowest(job.pace.Model(layer), job.pace.Model(head)) / replicas};
}

// What the phases REFORM and EVALUATE score (coordinator/jobs/closing_table.cc).
PhasePlan Evaluation(const PhasedJob& job) {
  PhasePlan phase{.name = "evaluation"};
  const double all = job.pace.replicas();
  bool first = true;
  for (const JobSpec& size : job.sizes) {
    const double share = UniformShare(job.config, size.ratio);
    const bool held_out = !size.eval_text.path.empty();
    const bool repairs = size.method == SearchMethod::kEspalier;
    const auto search = [&](double part, double replicas) {
      Add(Scoring(job, size.search_sequences(), size.search_sequence_length(), part, replicas),
          &phase);
    };
    const auto closing = [&](double part, double replicas) {
      if (!held_out) return search(part, replicas);
      Add(Scoring(job, job.eval_sequences, size.sequence_length, part, replicas), &phase);
    };
    if (size.reformation.method != ReformationMethod::kNone) {
      // Only the replica that made progressive weights has them.
      const double those = IsProgressive(size) ? 1 : all;
      search(share, those);
      if (held_out) closing(share, those);
    }
    // Initial and searched. Divergences are no perplexities: the searched one's on the search text
    // is still to be measured.
    closing(share, all);
    closing(share, all);
    if (repairs) {
      if (held_out && size.reformation.method != ReformationMethod::kNone) search(share, all);
      for (int row = 0; row < 2; ++row) Add(Repair(job, size, 0), &phase);
    }
    if (!first) continue;
    closing(1, all);
    if (held_out) search(1, all);
    first = false;
  }
  return phase;
}

}  // namespace

std::vector<PhasePlan> PhasesOf(const PhasedJob& job, SearchFigures* search) {
  const bool allocates = job.spec().method == SearchMethod::kEspalier;
  std::vector<PhasePlan> phases = CalibrationPhases(job);
  const auto append = [&phases](const std::vector<PhasePlan>& more) {
    phases.insert(phases.end(), more.begin(), more.end());
  };
  if (allocates) append(RankingPhases(job));
  append(allocates ? AllocationPhases(job, search) : PaperSearch(job, search));
  append({Reformation(job), Evaluation(job)});
  return phases;
}

}  // namespace espalier
