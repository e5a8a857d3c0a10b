// Evaluation of dense models and subnets, beside the bare limit: the same matrix products and
// attention, each alone, by libtorch's own kernels with the same number of threads (workload.h).
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <string>

#include "benchmarks/workload.h"
#include "common/testing/model_shapes.h"

namespace espalier {
namespace {

void Evaluation(benchmark::State& state, const ModelConfig& config, at::ScalarType type) {
  const c10::InferenceMode no_autograd;
  const int64_t length = state.range(0);
  Workload work(config, type, length, state.range(1));
  BareKernels bare(config, type, work.selections(), length, /*with_head=*/true);
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
  const ModelConfig two_layers = LlamaShape(2, 4096, 32, 11008);  // LLaMA-7B's
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
    add("LLaMA7B_2_layers" + suffix, Evaluation, two_layers, type, 2048, 100);
    add("LLaMA7B_2_layers" + suffix, Evaluation, two_layers, type, 2048, 50);
    add("LLaMA7B_layers_only" + suffix, SubnetLayers, two_layers, type, 2048, 50);
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
