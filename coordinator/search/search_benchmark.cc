// Time to make one generation of 100 candidates, all of them: draws, masks, fingerprints, top-k.
#include <memory>
#include <utility>

#include "benchmark/benchmark.h"
#include "common/rng.h"
#include "coordinator/search/search.h"

namespace espalier {
namespace {

ModelConfig Llama7B() {
  ModelConfig config;
  config.num_layers = 32;
  config.hidden_size = 4096;
  config.num_heads = 32;
  config.num_kv_heads = 32;
  config.head_dim = 128;
  config.intermediate_size = 11008;
  config.vocab_size = 32000;
  return config;
}

ModelConfig Llama65B() {
  ModelConfig config;
  config.num_layers = 80;
  config.hidden_size = 8192;
  config.num_heads = 64;
  config.num_kv_heads = 64;
  config.head_dim = 128;
  config.intermediate_size = 22016;
  config.vocab_size = 32000;
  return config;
}

// The shape of LLaMA-2-70B: the most channels of the supported family at this depth.
ModelConfig Llama70B() {
  ModelConfig config = Llama65B();
  config.num_kv_heads = 8;
  config.intermediate_size = 28672;
  return config;
}

JobSpec PaperJob(const ModelConfig& config) {
  JobSpec spec;
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
  auto search = EvolutionarySearch::Create(config, PaperJob(config), Scores(config, random));
  if (!search.ok()) return state.SkipWithError(search.status().ToString().c_str());
  for (auto _ : state) {
    std::vector<double> fitness((*search)->Generation().size());
    for (double& value : fitness) value = random.Uniform();
    if (!(*search)->Report(fitness).ok()) return state.SkipWithError("report failed");
  }
  state.SetItemsProcessed(state.iterations() * 100);
}

BENCHMARK_CAPTURE(BM_Generation, 7B, Llama7B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Generation, 65B, Llama65B())->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(BM_Generation, 70B, Llama70B())->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace espalier
