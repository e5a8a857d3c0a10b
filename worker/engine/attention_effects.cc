#include "worker/engine/attention_effects.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/engine/backend.h"

namespace espalier {
namespace {

constexpr int64_t kQueriesAtOnce = 32;
constexpr double kFactorDamping = 1e-2;

// [..., 2, T, h/2]: the halves of each head, rotated.
at::Tensor Rotate(const at::Tensor& halves, const RotaryTable& table) {
  const at::Tensor cos = table.cos.to(halves.device());
  const at::Tensor sin = table.sin.to(halves.device());
  const at::Tensor a = halves.select(-3, 0);
  const at::Tensor b = halves.select(-3, 1);
  return at::stack({a * cos - b * sin, b * cos + a * sin}, -3);
}

// q, k and v of one sequence, rotated.
struct Projections {
  at::Tensor q;  // [G, r, 2, T, h/2]
  at::Tensor k;  // [G, 2, T, h/2]
  at::Tensor v;  // [G, T, h]
};

Projections Project(const ResidentModel& model, const ResidentLayer& layer,
                    const at::Tensor& inputs) {
  const ModelConfig& config = model.config;
  const int64_t groups = config.num_kv_heads;
  const int64_t r = config.queries_per_group();
  const int64_t pairs = config.pairs();
  const int64_t length = inputs.size(0);
  const RotaryTable table = MakeRotaryTable(config, length);
  const RotaryTable rotary{table.cos.narrow(0, 0, length), table.sin.narrow(0, 0, length)};
  const auto project = [&](const at::Tensor& weights) {
    return at::linear(inputs, weights.to(at::kFloat));
  };
  return {
      Rotate(project(layer.q).view({length, groups, r, 2, pairs}).permute({1, 2, 3, 0, 4}), rotary),
      Rotate(project(layer.k).view({length, groups, 2, pairs}).permute({1, 2, 0, 3}), rotary),
      project(layer.v).view({length, groups, 2 * pairs}).transpose(0, 1)};
}

double LogitScale(const ModelConfig& config) {
  return 1.0 / std::sqrt(static_cast<double>(config.head_dim));
}

// One KV group.
struct Group {
  at::Tensor q;        // [r, 2, T, h/2]
  at::Tensor k;        // [2, T, h/2]
  at::Tensor v;        // [T, h]
  at::Tensor logits;   // [r, T, T], −∞ above the diagonal
  at::Tensor output;   // [T, r · h]
  at::Tensor product;  // O_gᵀ O_g [r · h, r · h]
};

at::Tensor Attend(const at::Tensor& logits, const at::Tensor& v) {
  const at::Tensor out = at::matmul(at::softmax(logits, -1), v);  // [r, T, h]
  return out.permute({1, 0, 2}).reshape({out.size(1), -1});
}

}  // namespace

at::Tensor PairEffects(const ResidentModel& model, int64_t index, const at::Tensor& o_transposed,
                       const at::Tensor& inputs, ThreadPool* pool) {
  const ModelConfig& config = model.config;
  const int64_t groups = config.num_kv_heads;
  const int64_t r = config.queries_per_group();
  const int64_t pairs = config.pairs();
  const int64_t length = inputs.size(0);
  const double scale = LogitScale(config);
  const Projections projected = Project(model, model.layers[index], inputs);
  const at::Tensor o = o_transposed.view({groups, r * 2 * pairs, -1});
  const at::Tensor future =
      at::full({length, length}, -std::numeric_limits<float>::infinity(), inputs.options()).triu(1);

  std::vector<Group> all(groups);
  std::vector<at::Tensor> outputs(groups);
  pool->ParallelFor(groups, [&](int64_t g, int) {
    Group& group = all[g];
    group.q = projected.q[g].contiguous();
    group.k = projected.k[g].contiguous();
    group.v = projected.v[g].contiguous();
    group.logits = at::matmul(group.q.select(1, 0), group.k[0].t())
                       .add_(at::matmul(group.q.select(1, 1), group.k[1].t()))
                       .mul_(scale)
                       .add_(future);
    group.output = Attend(group.logits, group.v);
    group.product = at::mm(o[g], o[g].t());
    outputs[g] = at::mm(group.output, o[g]);
  });
  at::Tensor sum = at::zeros_like(outputs[0]);
  for (const at::Tensor& output : outputs) sum.add_(output);
  const double total =
      std::max(sum.square().sum(at::kDouble).item<double>(), std::numeric_limits<double>::min());

  at::Tensor effects = at::empty({groups, pairs}, at::kDouble);
  auto* out = effects.data_ptr<double>();
  pool->ParallelFor(groups * pairs, [&](int64_t item, int) {
    const Group& group = all[item / pairs];
    const int64_t pair = item % pairs;
    at::Tensor logits = group.logits.clone();
    for (int64_t half = 0; half < 2; ++half) {
      const at::Tensor column =
          group.q.select(1, half).select(-1, pair).unsqueeze(-1);  // [r, T, 1]
      logits.addcmul_(column, group.k[half].select(-1, pair), -scale);
    }
    const at::Tensor change = Attend(logits, group.v) - group.output;
    out[item] = (at::mm(change, group.product) * change).sum(at::kDouble).item<double>() / total;
  });
  return effects;
}

at::Tensor PatternGrams(const ResidentModel& model, int64_t index, const at::Tensor& inputs,
                        ThreadPool* pool) {
  const ModelConfig& config = model.config;
  const int64_t r = config.queries_per_group();
  const int64_t pairs = config.pairs();
  const int64_t length = inputs.size(0);
  const double scale = LogitScale(config);
  const Projections projected = Project(model, model.layers[index], inputs);
  at::Tensor grams = at::zeros({config.num_heads, pairs, pairs}, at::kDouble);
  pool->ParallelFor(config.num_heads, [&](int64_t head, int) {
    const at::Tensor q = projected.q[head / r][head % r] * scale;  // [2, T, h/2]
    const at::Tensor k = projected.k[head / r].contiguous();
    for (int64_t first = 0; first < length; first += kQueriesAtOnce) {
      const int64_t count = std::min(kQueriesAtOnce, length - first);
      const int64_t keys = first + count;  // of the last query, which sees most
      const at::Tensor rows = q.narrow(1, first, count).unsqueeze(2);           // [2, I, 1, h/2]
      const at::Tensor seen = k.narrow(1, 0, keys).unsqueeze(1);                // [2, 1, J, h/2]
      const at::Tensor parts = (rows[0] * seen[0]).addcmul_(rows[1], seen[1]);  // [I, J, h/2]
      const at::Tensor future =
          at::full({count, keys}, -std::numeric_limits<float>::infinity(), inputs.options())
              .triu(first + 1);
      const at::Tensor pattern = at::softmax(parts.sum(-1).add_(future), -1).unsqueeze(-1);
      const at::Tensor mean = (parts * pattern).sum(1, /*keepdim=*/true);
      const at::Tensor x = ((parts - mean) * pattern.sqrt()).flatten(0, 1);
      grams[head].add_(at::mm(x.t(), x).to(at::kCPU, at::kDouble));
    }
  });
  return grams;
}

at::Tensor PairFactors(const at::Tensor& gram, const std::vector<int64_t>& kept) {
  const at::Tensor index = at::tensor(kept, at::kLong);
  const at::Tensor rows = gram.index_select(0, index);
  at::Tensor own = rows.index_select(1, index);
  const at::Tensor missing = rows.sum(1) - own.sum(1);
  const double damping = kFactorDamping * own.diagonal().mean().item<double>();
  own.diagonal().add_(std::max(damping, std::numeric_limits<double>::min()));
  return at::linalg_solve(own, missing) + 1;
}

}  // namespace espalier
