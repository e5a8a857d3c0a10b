#include "benchmarks/workload.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "common/rng.h"

namespace espalier {
namespace {

at::Tensor RandomMatrix(int64_t rows, int64_t columns, at::ScalarType type) {
  return (at::randn({rows, columns}) / std::sqrt(static_cast<double>(columns))).to(type);
}

}  // namespace

int Threads() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

ResidentModel RandomModel(const ModelConfig& config, at::ScalarType type) {
  ResidentModel model;
  model.config = config;
  model.subnet = Subnet::Dense(config);
  model.type = type;
  const int64_t d = config.hidden_size;
  const int64_t keys = config.num_kv_heads * config.head_dim;
  const int64_t queries = config.num_heads * config.head_dim;
  const int64_t f = config.intermediate_size;
  model.embedding = RandomMatrix(config.vocab_size, d, type);
  model.head =
      config.tie_word_embeddings ? model.embedding : RandomMatrix(config.vocab_size, d, type);
  model.final_norm = at::ones({d});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    model.layers.push_back({.attention_norm = at::ones({d}),
                            .q = RandomMatrix(queries, d, type),
                            .k = RandomMatrix(keys, d, type),
                            .v = RandomMatrix(keys, d, type),
                            .o_transposed = RandomMatrix(queries, d, type),
                            .o_bias = {},
                            .mlp_norm = at::ones({d}),
                            .gate = RandomMatrix(f, d, type),
                            .up = RandomMatrix(f, d, type),
                            .down_transposed = RandomMatrix(f, d, type),
                            .down_bias = {}});
  }
  return model;
}

Subnet RandomUnits(const ModelConfig& config, int64_t percent) {
  Subnet subnet = Subnet::Dense(config);
  RandomStream random(1, RandomPurpose::kTest, 0, 0);
  for (LayerMask& layer : subnet.layers) {
    for (Bitmask& group : layer.attention) {
      group = Bitmask::FromIndices(group.size(),
                                   random.Sample(group.size(), group.size() * percent / 100));
    }
    layer.mlp = Bitmask::FromIndices(
        layer.mlp.size(), random.Sample(layer.mlp.size(), layer.mlp.size() * percent / 100));
  }
  return subnet;
}

std::vector<int32_t> RandomTokens(const ModelConfig& config, int64_t count) {
  RandomStream random(2, RandomPurpose::kTest, 0, 0);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.Below(config.vocab_size));
  return tokens;
}

Workload::Workload(const ModelConfig& config, at::ScalarType type, int64_t length, int64_t percent)
    : model_(RandomModel(config, type)),
      length_(length),
      pool_(Threads()),
      backend_(MakeCpuBackend(&pool_)),
      tokens_(RandomTokens(config, length)),
      subnet_(RandomUnits(config, percent)) {
  for (int64_t i = 0; i < config.num_layers; ++i) {
    selections_.push_back(SelectLayer(subnet_.layers[i], model_.subnet.layers[i], config));
  }
}

void Workload::RunLayers(at::Tensor* x) {
  for (int64_t i = 0; i < model_.config.num_layers; ++i) {
    backend_->RunLayer(model_, i, selections_[i], 1, length_, x, {});
  }
}

void Workload::Evaluate(const DenseRows* dense) {
  at::Tensor x = Embed();
  RunLayers(&x);
  benchmark::DoNotOptimize(
      backend_->Losses(model_, model_.final_norm, x, tokens_.data(), 1, length_, dense));
}

BareKernels::BareKernels(const ModelConfig& config, at::ScalarType type,
                         const std::vector<LayerSelection>& selections, int64_t length,
                         bool with_head) {
  const int64_t d = config.hidden_size;
  for (const LayerSelection& selection : selections) {
    const auto queries = static_cast<int64_t>(selection.query_rows.size());
    const auto keys = static_cast<int64_t>(selection.key_rows.size());
    const auto channels = static_cast<int64_t>(selection.channels.size());
    AddProduct(length, d, queries + 2 * keys, type, 1);
    AddProduct(length, queries, d, type, 1);
    AddProduct(length, d, channels, type, 2);
    AddProduct(length, channels, d, type, 1);
    const int64_t width = queries / config.num_heads;
    const auto heads = [&] { return at::randn({1, config.num_heads, length, width}).to(type); };
    attention_.push_back({heads(), heads(), heads()});
  }
  if (with_head) {
    constexpr int64_t kRows = 512;
    AddProduct(std::min(kRows, length), d, config.vocab_size, type, (length + kRows - 1) / kRows);
  }
}

void BareKernels::Run() {
  for (Product& product : products_) {
    for (int64_t i = 0; i < product.times; ++i) {
      at::mm_out(product.out, product.a, product.b.t());
    }
  }
  for (const Attention& attention : attention_) {
    benchmark::DoNotOptimize(at::scaled_dot_product_attention(
        attention.query, attention.key, attention.value, {}, 0.0, /*is_causal=*/true));
  }
}

// Every layer has tensors of its own: weights come from memory, as in an evaluation.
void BareKernels::AddProduct(int64_t m, int64_t k, int64_t n, at::ScalarType type, int64_t times) {
  products_.push_back(
      {at::randn({m, k}).to(type), at::randn({n, k}).to(type), at::empty({m, n}, type), times});
}

}  // namespace espalier
