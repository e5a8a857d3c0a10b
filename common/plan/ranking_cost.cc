#include "common/plan/ranking_cost.h"

#include <algorithm>
#include <numeric>

#include "common/plan/model_cost.h"

namespace espalier {
namespace {

// As worker/engine has them (statistics_collector.cc, elimination.cc, attention_effects.cc).
constexpr int64_t kEffectPositions = 512;
constexpr int64_t kChannelsAtOnce = 8;
constexpr int64_t kQueriesAtOnce = 32;
constexpr int64_t kGroupVariants = 8;
constexpr int64_t kOutputs = 2048;  // of the last layer that are kept

// A · X = B with A [n, n] and B [n, m].
double SolveFlops(double n, double m) { return 2 * n * n * n / 3 + 2 * n * n * m; }

// Remainder::Remove of `gone` of the n inputs of a linear with d outputs: two solves with the
// corner, the cost, and the updates of the weights and of the inverse.
double RemoveFlops(double n, double d, double gone) {
  return SolveFlops(gone, d) + SolveFlops(gone, n) + 2 * gone * d + 2 * n * gone * d +
         2 * n * n * gone;
}

// Remainder::Costs of `sets` sets of `size` inputs.
double CostFlops(double sets, double size, double d) {
  return sets * (SolveFlops(size, d) + 2 * size * d);
}

double ChannelFlops(const ModelConfig& config, int64_t step) {
  const int64_t f = config.intermediate_size;
  const auto d = static_cast<double>(config.hidden_size);
  double total = 0;
  int64_t size = f;  // of the matrices: inputs that went are cut off when they are a quarter
  for (int64_t left = f; left > 0;) {
    const int64_t next_size = (left - 1) / step * step;
    const int64_t count = std::min(kChannelsAtOnce, left - next_size);
    const auto n = static_cast<double>(size);
    total += 2 * n * d + RemoveFlops(n, d, static_cast<double>(count));
    left -= count;
    if (4 * left < 3 * size) size = left;
  }
  return total;
}

// How many numbers of present groups lie between two whose pairs are thinned.
int64_t Variant(const ModelConfig& config) {
  return (config.num_kv_heads + kGroupVariants - 1) / kGroupVariants;
}

double AttentionCutFlops(const ModelConfig& config) {
  const int64_t groups = config.num_kv_heads;
  const auto n = static_cast<double>(QueryWidth(config));
  const auto d = static_cast<double>(config.hidden_size);
  const auto pairs = static_cast<double>(config.pairs());
  const auto of_pair = static_cast<double>(2 * config.queries_per_group());
  const double of_group = of_pair * pairs;
  double total = 0;
  for (int64_t present = groups; present > 0; --present) {
    const auto count = static_cast<double>(present);
    if ((groups - present) % Variant(config) == 0) {
      total += (pairs - 1) * RemoveFlops(n, d, count * of_pair);
    }
    if (present > 1) total += CostFlops(count, of_group, d) + RemoveFlops(n, d, of_group);
  }
  return total;
}

double EffectFlops(const ModelConfig& config, int64_t positions) {
  const auto t = static_cast<double>(positions);
  const auto d = static_cast<double>(config.hidden_size);
  const auto h = static_cast<double>(config.head_dim);
  const auto heads = static_cast<double>(config.num_heads);
  const auto groups = static_cast<double>(config.num_kv_heads);
  const double of_group = h * static_cast<double>(config.queries_per_group());
  const double projections = 2 * t * d * (heads + 2 * groups) * h;
  const double attention = 2 * 2 * heads * t * t * h;  // all meetings, also with what comes later
  const double outputs = 2 * groups * of_group * of_group * d + 2 * t * heads * h * d;
  const double without_pair = 2 * 2 * t * t * of_group / h + 2 * t * t * of_group +
                              2 * t * of_group * of_group + 2 * t * of_group;
  return projections + attention + outputs + groups * h / 2 * without_pair;
}

// PatternGrams without its projections, which PairEffects' stand for: a query meets the keys up to
// the last query of its block.
double PatternFlops(const ModelConfig& config, int64_t positions) {
  double meetings = 0;
  for (int64_t first = 0; first < positions; first += kQueriesAtOnce) {
    const int64_t count = std::min(kQueriesAtOnce, positions - first);
    meetings += static_cast<double>(count * (first + count));
  }
  const auto pairs = static_cast<double>(config.pairs());
  return 2 * static_cast<double>(config.num_heads) * meetings * pairs * pairs;
}

}  // namespace

int64_t EffectPositions(const JobSpec& spec) {
  return std::min(kEffectPositions, spec.sequence_length);
}

CutSteps StepsOf(const JobSpec& spec) {
  return {.channels = std::max<int64_t>(1, spec.align_mlp),
          .pairs = std::max<int64_t>(1, spec.align_head_dim / 2)};
}

double HeadMetricFlops(const ModelConfig& config, int64_t positions) {
  const int64_t stride = std::max<int64_t>(1, positions / kOutputs);
  const int64_t kept = (positions + stride - 1) / stride;
  const auto rows = static_cast<double>(kept);
  const auto d = static_cast<double>(config.hidden_size);
  const auto vocabulary = static_cast<double>(config.vocab_size);
  // Logits, their mean vector and its response; the sum over the vocabulary and those over rows.
  return rows * (3 * 2 * vocabulary * d + 4 * 2 * d * d) + 2 * vocabulary * d * d;
}

RankingFlops LayerRankingFlops(const ModelConfig& config, const CutSteps& steps,
                               int64_t positions) {
  RankingFlops flops;
  flops.effects = EffectFlops(config, positions) + PatternFlops(config, positions);
  const auto d = static_cast<double>(config.hidden_size);
  for (const int64_t inputs : {QueryWidth(config), config.intermediate_size}) {
    const auto n = static_cast<double>(inputs);
    flops.factors += n * n * n;           // n³/3 for the factor, 2n³/3 for the inverse
    flops.eliminations += 2 * n * n * d;  // the output's energy
  }
  flops.factors += ValueBasesFlops(config);
  flops.eliminations += ChannelFlops(config, steps.channels) + AttentionCutFlops(config);
  return flops;
}

std::vector<int64_t> AttentionCutSizes(const ModelConfig& config, const CutSteps& steps) {
  const int64_t groups = config.num_kv_heads;
  std::vector<int64_t> sizes;
  for (int64_t present = groups; present > 0; --present) {
    if (present < groups) sizes.push_back(present * config.pairs());
    if ((groups - present) % Variant(config) != 0) continue;
    for (int64_t left = 1; left < config.pairs(); ++left) {
      if (left % steps.pairs == 0) sizes.push_back(present * left);
    }
  }
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

std::vector<int64_t> MlpCutSizes(const ModelConfig& config, const CutSteps& steps) {
  std::vector<int64_t> sizes;
  for (int64_t size = steps.channels; size < config.intermediate_size; size += steps.channels) {
    sizes.push_back(size);
  }
  return sizes;
}

int64_t LayerCutBytes(const ModelConfig& config, const CutSteps& steps, Precision precision) {
  const auto sum = [](const std::vector<int64_t>& sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  };
  // A pair's inputs of o, and its rows of v.
  const int64_t of_pair = 2 * config.queries_per_group() + 2;
  const int64_t inputs =
      sum(AttentionCutSizes(config, steps)) * of_pair + sum(MlpCutSizes(config, steps));
  return inputs * config.hidden_size * BytesOf(precision);
}

}  // namespace espalier
