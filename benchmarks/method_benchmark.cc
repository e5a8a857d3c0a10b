// What the method computes beside plain evaluations: statistics, rankings, divergences, repairs and
// progressive reformation, each beside its bare limit (workload.h), with SmolLM2's widths and a few
// of its layers; in float32 where no type is said.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "benchmarks/workload.h"
#include "common/testing/model_shapes.h"
#include "worker/engine/elimination.h"
#include "worker/engine/progressive_reformation.h"
#include "worker/engine/statistics.h"
#include "worker/engine/statistics_collector.h"

namespace espalier {
namespace {

constexpr int64_t kLength = 512;

ModelConfig Layers(int64_t count) {
  ModelConfig config = SmolLm2();
  config.num_layers = count;
  return config;
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << status << std::endl;
  std::exit(1);
}

std::vector<LayerSelection> DenseSelections(const ResidentModel& model) {
  std::vector<LayerSelection> selections;
  for (const LayerMask& mask : model.subnet.layers) {
    selections.push_back(SelectLayer(mask, mask, model.config));
  }
  return selections;
}

// One sequence through the dense model, with its Gram matrices.
void Collect(Workload* work, int64_t length, Calibration* calibration) {
  const std::vector<LayerSelection> dense = DenseSelections(work->model());
  StatisticsCollector collector(work->model(), &work->backend(), 1, length, calibration);
  at::Tensor x = work->Embed();
  for (int64_t i = 0; i < work->model().config.num_layers; ++i) {
    work->backend().RunLayer(work->model(), i, dense[i], 1, length, &x, collector.Observer(i));
  }
  collector.Finish();
}

// Limit: the layers' products and attention, and xᵀx as a whole where ours makes half of it; in
// bfloat16 it leaves out that sums are float32.
void Statistics(benchmark::State& state, at::ScalarType type) {
  const c10::InferenceMode no_autograd;
  constexpr int64_t kRows = 2048;
  Workload work(Layers(6), type, kRows, 100);
  const ModelConfig& config = work.model().config;
  BareKernels bare(config, type, DenseSelections(work.model()), kRows, false);
  std::vector<std::pair<at::Tensor, at::Tensor>> inputs;
  for (const int64_t width : {config.hidden_size, config.num_heads * config.head_dim,
                              config.hidden_size, config.intermediate_size}) {
    inputs.emplace_back(at::randn({kRows, width}).to(type), at::empty({width, width}, type));
  }
  TakeTurns(
      state,
      [&] {
        Calibration calibration;
        Collect(&work, kRows, &calibration);
      },
      [&] {
        bare.Run();
        for (int64_t i = 0; i < config.num_layers; ++i) {
          for (auto& [x, gram] : inputs) at::mm_out(gram, x.t(), x);
        }
      });
}

// The order of one MLP's channels. Limit: its updates alone, of what is left of weights and inverse
// after every eight channels, by one thread like ours.
void EliminatesChannels(benchmark::State& state) {
  const c10::InferenceMode no_autograd;
  const ModelConfig config = SmolLm2();
  const int64_t f = config.intermediate_size;
  const int64_t d = config.hidden_size;
  const at::Tensor x = at::randn({4 * f, f});
  const at::Tensor gram = at::mm(x.t(), x);
  const at::Tensor weights = at::randn({f, d});
  TakeTurns(
      state,
      [&] {
        LayerRanking ranking;
        Check(EliminateChannels(weights, gram, {.channels = 64, .pairs = 4}, {}, {}, &ranking));
      },
      [&] {
        at::set_num_threads(1);
        constexpr int64_t kAtOnce = 8;
        const at::Tensor inverse = gram.clone();
        const at::Tensor rest = weights.clone();
        const at::Tensor factor = at::zeros({kAtOnce, f});
        for (int64_t left = f; left > 0; left -= kAtOnce) {
          const at::Tensor rows = factor.narrow(1, 0, left);
          rest.narrow(0, 0, left).addmm_(rows.t(), factor.narrow(1, 0, d));
          inverse.narrow(0, 0, left).narrow(1, 0, left).addmm_(rows.t(), rows);
        }
      });
}

// A loss with the divergence from the dense model; limit: the loss alone.
void Divergence(benchmark::State& state) {
  const c10::InferenceMode no_autograd;
  Workload work(SmolLm2(), at::kFloat, kLength, 50);
  at::Tensor x = work.Embed();
  const DenseRows dense = work.backend().Predictions(work.model(), x);
  TakeTurns(
      state, [&] { work.Evaluate(&dense); },
      [&] {
        at::set_num_threads(1);
        work.Evaluate();
      });
}

// Positive definite, [n, n] float64.
at::Tensor Definite(int64_t n) {
  const at::Tensor x = at::randn({2 * n, n}, at::kDouble);
  return at::mm(x.t(), x);
}

// (matrix + λI)⁻¹ right in float64.
struct Solve {
  at::Tensor matrix;
  at::Tensor right;

  Solve(int64_t n, int64_t m) : matrix(Definite(n)), right(at::randn({n, m}, at::kDouble)) {}
  void Run() const {
    benchmark::DoNotOptimize(at::cholesky_solve(right, at::linalg_cholesky(matrix)));
  }
};

// New weights for both modules of some layers. Limit: their factorisations and solutions.
void Repair(benchmark::State& state) {
  const c10::InferenceMode no_autograd;
  Workload work(Layers(6), at::kFloat, 2048, 50);
  Calibration statistics;
  Collect(&work, 2048, &statistics);
  std::vector<Solve> solves;
  for (const LayerSelection& selection : work.selections()) {
    for (const auto* rows : {&selection.query_rows, &selection.channels}) {
      solves.emplace_back(std::ssize(*rows), work.model().config.hidden_size);
    }
  }
  TakeTurns(
      state,
      [&] {
        Calibration calibration;  // that has repaired nothing yet
        calibration.layers = statistics.layers;
        calibration.positions = statistics.positions;
        Check(ComputeReformation(work.model(), calibration, work.subnet(), ReformationSpec{},
                                 &work.pool(), {})
                  .status());
      },
      [&] {
        for (const Solve& solve : solves) solve.Run();
      });
}

// Two layers fitted to 8,192 tokens. Limit: the products and the attention of one pass of either
// model, the Gram matrices and cross products as wholes, and the solutions.
void Progressive(benchmark::State& state, at::ScalarType type) {
  const c10::InferenceMode no_autograd;
  constexpr int64_t kSequences = 16;
  constexpr int64_t kRows = kSequences * kLength;
  Workload work(Layers(2), type, kRows, 50);
  const ModelConfig& config = work.model().config;
  const int64_t d = config.hidden_size;
  const at::Tensor embedded = work.Embed();
  BareKernels dense(config, type, DenseSelections(work.model()), kLength, false);
  BareKernels subnet(config, type, work.selections(), kLength, false);
  struct Products {
    at::Tensor h, a, target;
    at::Tensor map_gram, map_cross, gram, product;
  };
  std::vector<Products> products;
  std::vector<Solve> solves;
  for (const LayerSelection& selection : work.selections()) {
    for (const auto* rows : {&selection.query_rows, &selection.channels}) {
      const int64_t k = std::ssize(*rows);
      const auto random = [&](int64_t width) { return at::randn({kRows, width}).to(type); };
      products.push_back({random(d), random(k), random(d), at::empty({d, d}, type),
                          at::empty({d, d}, type), at::empty({k, k}, type),
                          at::empty({k, d}, type)});
      solves.emplace_back(d, d);
      solves.emplace_back(k, d);
    }
  }
  TakeTurns(
      state,
      [&] {
        std::vector<Streams> streams;
        streams.push_back({embedded.clone(), embedded.clone(), kLength, kRows, 1});
        Check(ComputeProgressiveReformation(work.model(), work.selections(), ReformationSpec{},
                                            &work.backend(), &work.pool(), {}, &streams)
                  .status());
      },
      [&] {
        for (int64_t i = 0; i < kSequences; ++i) {
          dense.Run();
          subnet.Run();
        }
        for (Products& p : products) {
          at::mm_out(p.map_gram, p.h.t(), p.h);
          at::mm_out(p.map_cross, p.h.t(), p.target);
          at::mm_out(p.gram, p.a.t(), p.a);
          at::mm_out(p.product, p.a.t(), p.target);
        }
        for (const Solve& solve : solves) solve.Run();
      });
}

BENCHMARK_CAPTURE(Statistics, float32, at::kFloat)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Statistics, bfloat16, at::kBFloat16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(EliminatesChannels)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Divergence)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(Repair)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Progressive, float32, at::kFloat)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Progressive, bfloat16, at::kBFloat16)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace espalier

BENCHMARK_MAIN();
