// What benchmarks of the engine share: models with random weights (time does not depend on their
// values), and a bare limit that takes turns with what it limits.
#ifndef ESPALIER_BENCHMARKS_WORKLOAD_H_
#define ESPALIER_BENCHMARKS_WORKLOAD_H_

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "worker/engine/backend.h"

namespace espalier {

int Threads();

ResidentModel RandomModel(const ModelConfig& config, at::ScalarType type);

// Every module keeps `percent` of its units, drawn at random.
Subnet RandomUnits(const ModelConfig& config, int64_t percent);

std::vector<int32_t> RandomTokens(const ModelConfig& config, int64_t count);

class Workload {
 public:
  Workload(const ModelConfig& config, at::ScalarType type, int64_t length, int64_t percent);

  void RunLayers(at::Tensor* x);
  at::Tensor Embed() { return backend_->Embed(model_, tokens_.data(), length_); }
  // `dense` (may be null) as Backend::Losses.
  void Evaluate(const DenseRows* dense = nullptr);
  const ResidentModel& model() const { return model_; }
  const Subnet& subnet() const { return subnet_; }
  const std::vector<LayerSelection>& selections() const { return selections_; }
  Backend& backend() { return *backend_; }
  ThreadPool& pool() { return pool_; }

 private:
  ResidentModel model_;
  int64_t length_;
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
  std::vector<int32_t> tokens_;
  Subnet subnet_;
  std::vector<LayerSelection> selections_;
};

// The products and the attention of one evaluation, on tensors made beforehand.
class BareKernels {
 public:
  BareKernels(const ModelConfig& config, at::ScalarType type,
              const std::vector<LayerSelection>& selections, int64_t length, bool with_head);
  void Run();

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
  void AddProduct(int64_t m, int64_t k, int64_t n, at::ScalarType type, int64_t times);

  std::vector<Product> products_;
  std::vector<Attention> attention_;
};

template <typename Body>
double Seconds(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Ours and the limit take turns within every iteration, so that a change of clock or load meets
// both; the iteration's time is ours. Counters: `limit_ms`, `ours_ms`, and `limit_over_ours` (1 =
// nothing but the kernels' time; above 1 = ours passes them). Ours runs as in the engine, which has
// threads of its own; the limit may use all of libtorch's.
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

}  // namespace espalier

#endif  // ESPALIER_BENCHMARKS_WORKLOAD_H_
