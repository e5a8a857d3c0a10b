// Evaluation of dense models and subnets, beside the bare limit: the same matrix products and
// attention, each alone, by libtorch's own kernels with the same number of threads.
//
// Ours and the limit take turns within every iteration, so that a change of clock or load meets
// both. Counters: `limit_ms`, `ours_ms`, and `limit_over_ours` (1 = nothing but the kernels' time;
// above 1 = the fused path passes them). Weights are random; time does not depend on their values.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/rng.h"
#include "worker/engine/backend.h"

namespace espalier {
namespace {

int Threads() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

ModelConfig SmolLm2() {
  ModelConfig config;
  config.num_layers = 30;
  config.hidden_size = 576;
  config.num_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  config.intermediate_size = 1536;
  config.vocab_size = 49152;
  config.tie_word_embeddings = true;
  return config;
}

// LLaMA-7B's shape with two layers.
ModelConfig TwoLayersOf7B() {
  ModelConfig config;
  config.num_layers = 2;
  config.hidden_size = 4096;
  config.num_heads = 32;
  config.num_kv_heads = 32;
  config.head_dim = 128;
  config.intermediate_size = 11008;
  config.vocab_size = 32000;
  return config;
}

at::Tensor RandomMatrix(int64_t rows, int64_t columns, at::ScalarType type) {
  return (at::randn({rows, columns}) / std::sqrt(static_cast<double>(columns))).to(type);
}

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

// Every module keeps `percent` of its units, drawn at random.
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

class Workload {
 public:
  Workload(const ModelConfig& config, at::ScalarType type, int64_t length, int64_t percent)
      : model_(RandomModel(config, type)),
        length_(length),
        pool_(Threads()),
        backend_(MakeCpuBackend(&pool_)),
        tokens_(length) {
    RandomStream random(2, RandomPurpose::kTest, 0, 0);
    for (int32_t& token : tokens_) token = static_cast<int32_t>(random.Below(config.vocab_size));
    const Subnet subnet = RandomUnits(config, percent);
    for (int64_t i = 0; i < config.num_layers; ++i) {
      selections_.push_back(SelectLayer(subnet.layers[i], model_.subnet.layers[i], config));
    }
  }

  void RunLayers(at::Tensor* x) {
    for (int64_t i = 0; i < model_.config.num_layers; ++i) {
      backend_->RunLayer(model_, i, selections_[i], 1, length_, x, {});
    }
  }
  at::Tensor Embed() { return backend_->Embed(model_, tokens_.data(), length_); }
  void Evaluate() {
    at::Tensor x = Embed();
    RunLayers(&x);
    benchmark::DoNotOptimize(
        backend_->Losses(model_, model_.final_norm, x, tokens_.data(), 1, length_, nullptr));
  }
  const ResidentModel& model() const { return model_; }
  const std::vector<LayerSelection>& selections() const { return selections_; }
  const Backend& backend() const { return *backend_; }

 private:
  ResidentModel model_;
  int64_t length_;
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
  std::vector<int32_t> tokens_;
  std::vector<LayerSelection> selections_;
};

// The products and the attention of one evaluation, on tensors made beforehand.
class BareKernels {
 public:
  BareKernels(const Workload& work, int64_t length, bool with_head) {
    const ModelConfig& config = work.model().config;
    const at::ScalarType type = work.model().type;
    const int64_t d = config.hidden_size;
    for (const LayerSelection& selection : work.selections()) {
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

  void Run() {
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

 private:
  struct Product {
    at::Tensor a;    // [m, k]
    at::Tensor b;    // [n, k]
    at::Tensor out;  // [m, n]
    int64_t times;
  };
  struct Attention {
    at::Tensor query, key, value;  // [1, H, T, width]
  };

  // Every layer has tensors of its own: weights come from memory, as in an evaluation.
  void AddProduct(int64_t m, int64_t k, int64_t n, at::ScalarType type, int64_t times) {
    products_.push_back(
        {at::randn({m, k}).to(type), at::randn({n, k}).to(type), at::empty({m, n}, type), times});
  }

  std::vector<Product> products_;
  std::vector<Attention> attention_;
};

template <typename Body>
double Seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Takes turns; the iteration's time is ours.
template <typename Ours, typename Limit>
void TakeTurns(benchmark::State& state, Ours&& ours, Limit&& limit) {
  at::set_num_threads(1);
  ours();
  at::set_num_threads(Threads());
  limit();
  double our_seconds = 0;
  double limit_seconds = 0;
  while (state.KeepRunning()) {
    at::set_num_threads(1);
    const double seconds = Seconds(ours);
    at::set_num_threads(Threads());
    limit_seconds += Seconds(limit);
    our_seconds += seconds;
    state.SetIterationTime(seconds);
  }
  const auto iterations = static_cast<double>(state.iterations());
  state.counters["ours_ms"] = our_seconds / iterations * 1e3;
  state.counters["limit_ms"] = limit_seconds / iterations * 1e3;
  state.counters["limit_over_ours"] = limit_seconds / our_seconds;
}

void Evaluation(benchmark::State& state, const ModelConfig& config, at::ScalarType type) {
  const c10::InferenceMode no_autograd;
  const int64_t length = state.range(0);
  Workload work(config, type, length, state.range(1));
  BareKernels bare(work, length, /*with_head=*/true);
  TakeTurns(
      state, [&] { work.Evaluate(); }, [&] { bare.Run(); });
  state.counters["weights_MiB"] = static_cast<double>(work.model().bytes()) / (1 << 20);
  state.counters["scratch_MiB"] = static_cast<double>(work.backend().scratch_bytes()) / (1 << 20);
  state.counters["activations_MiB"] =
      static_cast<double>(work.backend().activation_bytes()) / (1 << 20);
}

// The layers of a subnet against the layers of the dense model: `subnet_over_dense`.
void SubnetLayers(benchmark::State& state, const ModelConfig& config, at::ScalarType type) {
  const c10::InferenceMode no_autograd;
  const int64_t length = state.range(0);
  Workload dense(config, type, length, 100);
  Workload subnet(config, type, length, state.range(1));
  at::Tensor x = dense.Embed();
  TakeTurns(
      state, [&] { subnet.RunLayers(&x); },
      [&] {
        at::set_num_threads(1);
        dense.RunLayers(&x);
      });
  state.counters["subnet_over_dense"] = 1 / state.counters["limit_over_ours"];
}

void Register() {
  const auto add = [](const std::string& name, auto function, const ModelConfig& config,
                      at::ScalarType type, int64_t length, int64_t percent) {
    benchmark::RegisterBenchmark(name.c_str(), function, config, type)
        ->Args({length, percent})
        ->ArgNames({"tokens", "percent"})
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const std::string suffix = type == at::kFloat ? "/float32" : "/bfloat16";
    add("SmolLM2" + suffix, Evaluation, SmolLm2(), type, 512, 100);
    add("SmolLM2" + suffix, Evaluation, SmolLm2(), type, 2048, 100);
    add("SmolLM2" + suffix, Evaluation, SmolLm2(), type, 2048, 50);
    add("LLaMA7B_2_layers" + suffix, Evaluation, TwoLayersOf7B(), type, 2048, 100);
    add("LLaMA7B_2_layers" + suffix, Evaluation, TwoLayersOf7B(), type, 2048, 50);
    add("LLaMA7B_layers_only" + suffix, SubnetLayers, TwoLayersOf7B(), type, 2048, 50);
    add("SmolLM2_layers_only" + suffix, SubnetLayers, SmolLm2(), type, 2048, 50);
  }
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  espalier::Register();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
