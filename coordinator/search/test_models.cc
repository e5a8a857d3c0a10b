#include "coordinator/search/test_models.h"

#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace espalier::search {
namespace {

std::vector<double> RandomValues(int64_t count, RandomStream& random) {
  std::vector<double> values(count);
  for (double& value : values) value = random.Uniform();
  return values;
}

std::vector<int32_t> RandomOrder(int64_t count, RandomStream& random) {
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  return order;
}

// The first `groups` groups keep `pairs` random pairs each, the others none.
AttentionCut RandomCut(const ModelConfig& config, int64_t groups, int64_t pairs,
                       RandomStream& random) {
  AttentionCut cut;
  for (int64_t g = 0; g < config.num_kv_heads; ++g) {
    const int64_t kept = g < groups ? pairs : 0;
    cut.masks.push_back(Bitmask::FromIndices(config.pairs(), random.Sample(config.pairs(), kept)));
  }
  const double share = static_cast<double>(groups * pairs) /
                       static_cast<double>(config.num_kv_heads * config.pairs());
  cut.error = std::pow(1 - share, 1.5) * (0.5 + 0.5 * random.Uniform());
  return cut;
}

LayerRanking RandomLayerRanking(const ModelConfig& config, const CutSteps& steps,
                                RandomStream& random) {
  LayerRanking layer;
  for (int64_t groups = 1; groups <= config.num_kv_heads; ++groups) {
    for (int64_t pairs = steps.pairs; pairs < config.pairs() + steps.pairs; pairs += steps.pairs) {
      const int64_t kept = std::min(pairs, config.pairs());
      if (groups == config.num_kv_heads && kept == config.pairs()) continue;
      layer.attention.push_back(RandomCut(config, groups, kept, random));
    }
  }
  layer.channels = RandomOrder(config.intermediate_size, random);
  const double power = 1 + 2 * random.Uniform();
  for (int64_t kept = 0; kept < config.intermediate_size; kept += steps.channels) {
    const double share = static_cast<double>(kept) / static_cast<double>(config.intermediate_size);
    layer.channel_errors.push_back(std::pow(1 - share, power));
  }
  return layer;
}

// Full, or a multiple of `multiple` (in dims) that is not below the minimum.
std::string WhyIllegalSize(int64_t size, int64_t units, int64_t dims_per_unit, int64_t multiple,
                           double min_ratio) {
  if (size == units) return "";
  if (size * dims_per_unit % multiple != 0) return absl::StrCat("size ", size, " is not aligned");
  if (static_cast<double>(size) < min_ratio * static_cast<double>(units) - 1e-9) {
    return absl::StrCat("size ", size, " is below the minimum");
  }
  return "";
}

std::string WhyIllegalLayer(const LayerMask& layer, const ModelConfig& config,
                            const JobSpec& spec) {
  if (!layer.HasAttention() && !layer.HasMlp()) return "";
  if (!layer.HasAttention() || !layer.HasMlp()) return "one module is empty";
  for (const Bitmask& group : layer.attention) {
    if (group.Count() != layer.attention.front().Count()) return "groups differ in size";
  }
  const std::string why = WhyIllegalSize(layer.attention.front().Count(), config.pairs(), 2,
                                         spec.align_head_dim, spec.search.attention_min_ratio);
  if (!why.empty()) return "attention: " + why;
  return WhyIllegalSize(layer.mlp.Count(), config.intermediate_size, 1, spec.align_mlp,
                        spec.search.mlp_min_ratio);
}

}  // namespace

ModelConfig TinyModel() {
  ModelConfig config;
  config.num_layers = 3;
  config.hidden_size = 8;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.intermediate_size = 12;
  config.vocab_size = 10;
  return config;
}

ModelConfig SmallModel() {
  ModelConfig config;
  config.num_layers = 8;
  config.hidden_size = 64;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.intermediate_size = 192;
  config.vocab_size = 100;
  config.tie_word_embeddings = true;
  return config;
}

JobSpec TestJob(const ModelConfig& config, double ratio) {
  JobSpec spec;
  spec.method = SearchMethod::kPaper;
  spec.ratio = ratio;
  spec.tolerance = 0.01;
  spec.align_mlp = 1;
  spec.align_head_dim = 2;
  spec.seed = 7;
  spec.search.generations = 4;
  spec.search.mutations = 10;
  spec.search.crossovers = 6;
  spec.search.initial_mutations = 4;
  spec.search.survivors = 5;
  spec.search.attention_min_ratio = 0.25;
  spec.search.mlp_min_ratio = 0.1;
  spec.search.min_layers = config.num_layers - config.num_layers / 4;
  return spec;
}

UnitScores RandomScores(const ModelConfig& config, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kTest, 0, 0);
  UnitScores scores;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    LayerScores& layer = scores.layers.emplace_back();
    for (int64_t g = 0; g < config.num_kv_heads; ++g) {
      layer.attention.push_back(RandomValues(config.pairs(), random));
    }
    layer.mlp = RandomValues(config.intermediate_size, random);
  }
  return scores;
}

Ranking RandomRanking(const ModelConfig& config, const CutSteps& steps, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kTest, 1, 0);
  Ranking ranking;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    ranking.layers.push_back(RandomLayerRanking(config, steps, random));
  }
  return ranking;
}

std::string WhyIllegal(const Subnet& subnet, const ModelConfig& config, const JobSpec& spec) {
  const absl::Status shape = ValidateSubnet(subnet, config);
  if (!shape.ok()) return shape.ToString();
  int64_t present = 0;
  for (size_t l = 0; l < subnet.layers.size(); ++l) {
    const std::string why = WhyIllegalLayer(subnet.layers[l], config, spec);
    if (!why.empty()) return absl::StrCat("layer ", l, ": ", why);
    if (subnet.layers[l].HasMlp()) ++present;
  }
  if (present < spec.search.min_layers) return absl::StrCat("only ", present, " layers");
  const double ratio = ParameterRatio(subnet, config);
  if (ratio > spec.ratio || ratio < spec.ratio - spec.tolerance) {
    return absl::StrCat("ratio ", ratio);
  }
  return "";
}

int64_t Shared(const Bitmask& a, const Bitmask& b) {
  int64_t shared = 0;
  for (int64_t i = 0; i < a.size(); ++i) shared += a.Test(i) && b.Test(i) ? 1 : 0;
  return shared;
}

std::vector<Bitmask> MasksOf(const LayerMask& layer) {
  std::vector<Bitmask> masks = layer.attention;
  masks.push_back(layer.mlp);
  return masks;
}

}  // namespace espalier::search
