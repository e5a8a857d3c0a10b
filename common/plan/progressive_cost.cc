#include "common/plan/progressive_cost.h"

#include <algorithm>

#include "common/plan/model_cost.h"

namespace espalier {
namespace {

// (gram + λI)⁻¹ right, with gram [n, n] and right [n, m].
double DampedSolveFlops(double n, double m) { return n * n * n / 3 + 2 * n * n * m; }

}  // namespace

int64_t ProgressiveStarts(int64_t sequences, int64_t length) {
  return std::min<int64_t>(2048, sequences * length);
}

ProgressiveFlops LayerProgressiveFlops(const ModelConfig& config, double share, int64_t sequences,
                                       int64_t length, bool gpu) {
  const int64_t starts = ProgressiveStarts(sequences, length);
  const auto tokens = static_cast<double>(sequences * length + starts);
  const auto d = static_cast<double>(config.hidden_size);
  const double triangles = gpu ? 2 : 1;
  ProgressiveFlops flops;
  const auto passes = [&](int64_t count, int64_t tokens_each) {
    return static_cast<double>(count) * (LayerFlops(config, tokens_each, 1) +
                                         (gpu ? 2 : 1) * LayerFlops(config, tokens_each, share));
  };
  flops.passes = passes(sequences, length) + passes(starts, 1);
  const auto add_module = [&](int64_t inputs, int64_t mapped_rows) {
    const double k = share * static_cast<double>(inputs);
    // Σ h hᵀ and Σ (ĥ − h) hᵀ; Σ a aᵀ and Σ a tᵀ with the target t.
    if (gpu) flops.passes -= tokens * 2 * k * d;
    flops.products += tokens * (triangles * (d * d + k * k) + 2 * (d * d + k * d));
    // W M of the rows that are mapped; gram · W for the right side and for both errors.
    flops.weights += 2 * share * static_cast<double>(mapped_rows) * d * d + 3 * 2 * k * k * d;
    flops.solves += DampedSolveFlops(d, d) + DampedSolveFlops(k, d);
  };
  add_module(QueryWidth(config), QueryWidth(config) + 2 * config.num_kv_heads * config.head_dim);
  add_module(config.intermediate_size, 2 * config.intermediate_size);
  return flops;
}

}  // namespace espalier
