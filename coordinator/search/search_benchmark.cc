// Time to make one generation of 100 candidates, all of them: draws, masks, fingerprints, top-k.
// Of the allocation search: of a round of 8 offspring and 3 finalists, and of the start, which is
// the curves and the dynamic programming.
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "benchmark/benchmark.h"
#include "common/rng.h"
#include "common/testing/model_shapes.h"
#include "coordinator/search/allocation.h"
#include "coordinator/search/allocation_search.h"
#include "coordinator/search/search.h"

namespace espalier {
namespace {

JobSpec PaperJob(const ModelConfig& config) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.ratio = 0.7;
  spec.align_mlp = 64;
  spec.align_head_dim = 8;
  spec.search.generations = 1'000'000;
  spec.search.attention_min_ratio = 0.3;
  spec.search.mlp_min_ratio = 0.2;
  spec.search.min_layers = config.num_layers - config.num_layers / 10;
  return spec;
}

UnitScores Scores(const ModelConfig& config, RandomStream& random) {
  UnitScores scores;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerScores& layer = scores.layers.emplace_back();
    layer.attention.assign(config.num_kv_heads, std::vector<double>(config.pairs()));
    for (auto& group : layer.attention) {
      for (double& score : group) score = random.Uniform();
    }
    layer.mlp.resize(config.intermediate_size);
    for (double& score : layer.mlp) score = random.Uniform();
  }
  return scores;
}

void BM_Generation(benchmark::State& state, const ModelConfig& config) {
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  auto search = MakePaperSearch(config, PaperJob(config), Scores(config, random));
  if (!search.ok()) return state.SkipWithError(search.status().ToString().c_str());
  while (state.KeepRunning()) {
    std::vector<double> fitness((*search)->Generation().size());
    for (double& value : fitness) value = random.Uniform();
    if (!(*search)->Report(fitness).ok()) return state.SkipWithError("report failed");
  }
  state.SetItemsProcessed(state.iterations() * 100);
}

// Attention by whole groups and by pairs of every group in steps of 4, MLPs in steps of 64.
Ranking SomeRanking(const ModelConfig& config, RandomStream& random) {
  Ranking ranking;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerRanking& layer = ranking.layers.emplace_back();
    const auto add = [&](int64_t groups, int64_t pairs) {
      AttentionCut& cut = layer.attention.emplace_back();
      for (int64_t g = 0; g < config.num_kv_heads; ++g) {
        cut.masks.push_back(Bitmask::FromIndices(
            config.pairs(), random.Sample(config.pairs(), g < groups ? pairs : 0)));
      }
      cut.error = 1 - static_cast<double>(groups * pairs) /
                          static_cast<double>(config.num_kv_heads * config.pairs());
    };
    for (int64_t groups = 1; groups < config.num_kv_heads; ++groups) add(groups, config.pairs());
    for (int64_t pairs = 4; pairs < config.pairs(); pairs += 4) add(config.num_kv_heads, pairs);
    layer.channels.resize(config.intermediate_size);
    std::iota(layer.channels.begin(), layer.channels.end(), 0);
    for (int64_t kept = 0; kept < config.intermediate_size; kept += 64) {
      layer.channel_errors.push_back(
          std::pow(1 - static_cast<double>(kept) / static_cast<double>(config.intermediate_size),
                   1 + 2 * random.Uniform()));
    }
  }
  return ranking;
}

std::vector<double> RandomFitness(size_t count, RandomStream& random) {
  std::vector<double> fitness(count);
  for (double& value : fitness) value = random.Uniform();
  return fitness;
}

JobSpec AllocationJob(const ModelConfig& config) {
  JobSpec spec = PaperJob(config);
  spec.allocation.generations = 1'000'000;
  return spec;
}

void BM_AllocationRound(benchmark::State& state, const ModelConfig& config) {
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  auto search = MakeAllocationSearch(config, AllocationJob(config), SomeRanking(config, random));
  if (!search.ok()) return state.SkipWithError(search.status().ToString().c_str());
  const auto report_two = [&] {
    for (int i = 0; i < 2; ++i) {
      const size_t candidates = (*search)->Generation().size();
      if (!(*search)->Report(RandomFitness(candidates, random)).ok()) return false;
    }
    return true;
  };
  if (!report_two()) return state.SkipWithError("report failed");
  while (state.KeepRunning()) {
    if (!report_two()) return state.SkipWithError("report failed");
  }
}

void BM_LeastDamage(benchmark::State& state, const ModelConfig& config) {
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  const auto table = search::ModuleTable::Create(config, SomeRanking(config, random), 64);
  if (!table.ok()) return state.SkipWithError(table.status().ToString().c_str());
  search::CostedModules modules(table->modules());
  for (size_t m = 0; m < modules.size(); ++m) {
    const double worth = random.Uniform();
    for (const auto& option : table->options(m)) {
      modules[m].push_back(
          {.parameters = option.parameters, .damage = worth * std::pow(option.error, 1.5)});
    }
  }
  const auto high = static_cast<int64_t>(0.7 * static_cast<double>(table->dense_parameters())) -
                    table->fixed_parameters();
  while (state.KeepRunning()) {
    benchmark::DoNotOptimize(search::LeastDamage(modules, {.low = high * 99 / 100, .high = high}));
  }
}

BENCHMARK_CAPTURE(BM_LeastDamage, 65B, Llama65B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_LeastDamage, 70B, Llama70B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_AllocationRound, 65B, Llama65B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_AllocationRound, 70B, Llama70B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Generation, 7B, Llama7B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Generation, 65B, Llama65B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Generation, 70B, Llama70B())->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace espalier
