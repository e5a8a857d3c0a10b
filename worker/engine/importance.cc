#include <ATen/ATen.h>

#include <atomic>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {
namespace {

// 1 / [(2H + λI)⁻¹]_jj of every input j, float64.
absl::StatusOr<at::Tensor> InverseDiagonalReciprocal(const at::Tensor& gram, at::Device device,
                                                     double damping, const Warner& warn) {
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor,
                            DampedCholesky(gram.to(device) * 2.0, damping, warn));
  return at::cholesky_inverse(factor.lower).diagonal().reciprocal().contiguous();
}

at::Tensor Double(const at::Tensor& weights) { return weights.to(at::kDouble); }

// Σ_j W_ij² · reciprocal_j of every row i.
at::Tensor RowScores(const at::Tensor& weights, const at::Tensor& reciprocal) {
  return at::mv(Double(weights).square(), reciprocal);
}

// Σ_i W_ij² · reciprocal_j of every input j, W given transposed.
at::Tensor ColumnScores(const at::Tensor& transposed, const at::Tensor& reciprocal) {
  return Double(transposed).square().sum(1) * reciprocal;
}

absl::Status ScoreAttention(const ResidentLayer& layer, const LayerGrams& grams, double damping,
                            const ModelConfig& config, const Warner& warn, LayerScores* scores) {
  const at::Device device = layer.q.device();
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor in,
                            InverseDiagonalReciprocal(grams.qkv, device, damping, warn));
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor out,
                            InverseDiagonalReciprocal(grams.o, device, damping, warn));
  const int64_t groups = config.num_kv_heads;
  const int64_t r = config.queries_per_group();
  const int64_t pairs = config.pairs();
  // Rows are [group][head][half][pair].
  const at::Tensor queries = (RowScores(layer.q, in) + ColumnScores(layer.o_transposed, out))
                                 .view({groups, r * 2, pairs})
                                 .sum(1);
  const at::Tensor keys =
      (RowScores(layer.k, in) + RowScores(layer.v, in)).view({groups, 2, pairs}).sum(1);
  const at::Tensor total = (queries + keys).to(at::kCPU).contiguous();
  const double* data = total.data_ptr<double>();
  for (int64_t g = 0; g < groups; ++g) {
    scores->attention.emplace_back(data + g * pairs, data + (g + 1) * pairs);
  }
  return absl::OkStatus();
}

absl::Status ScoreMlp(const ResidentLayer& layer, const LayerGrams& grams, double damping,
                      const Warner& warn, LayerScores* scores) {
  const at::Device device = layer.gate.device();
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor in,
                            InverseDiagonalReciprocal(grams.gate_up, device, damping, warn));
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor out,
                            InverseDiagonalReciprocal(grams.down, device, damping, warn));
  const at::Tensor total = (RowScores(layer.gate, in) + RowScores(layer.up, in) +
                            ColumnScores(layer.down_transposed, out))
                               .to(at::kCPU)
                               .contiguous();
  const double* data = total.data_ptr<double>();
  scores->mlp.assign(data, data + total.numel());
  return absl::OkStatus();
}

}  // namespace

absl::Status ForModules(
    const ResidentModel& model, ThreadPool* pool, const Control& control,
    const std::function<absl::Status(int64_t layer, bool mlp, const Warner& warn)>& body) {
  const int64_t modules = 2 * std::ssize(model.layers);
  std::vector<absl::Status> statuses(modules);
  const auto name_of = [&](int64_t item) {
    return absl::StrCat("layer ", model.first_layer + item / 2,
                        item % 2 == 0 ? " attention" : " MLP");
  };
  std::atomic<int64_t> done{0};
  pool->ParallelFor(modules, [&](int64_t item, int thread) {
    if (Cancelled(control)) return;
    statuses[item] = body(item / 2, item % 2 == 1, WarnerOf(control, name_of(item)));
    const double fraction = static_cast<double>(++done) / static_cast<double>(modules);
    if (thread == 0) Report(control, fraction);
  });
  if (Cancelled(control)) return CancelledError();
  for (int64_t item = 0; item < modules; ++item) {
    if (statuses[item].ok()) continue;
    return absl::Status(statuses[item].code(),
                        absl::StrCat(name_of(item), ": ", statuses[item].message()));
  }
  return absl::OkStatus();
}

absl::StatusOr<UnitScores> ComputeImportance(const ResidentModel& model,
                                             const Calibration& calibration, double damping,
                                             ThreadPool* pool, const Control& control) {
  UnitScores scores;
  scores.layers.resize(model.layers.size());
  ESPALIER_RETURN_IF_ERROR(
      ForModules(model, pool, control, [&](int64_t i, bool mlp, const Warner& warn) {
        const LayerGrams& grams = calibration.layers[i];
        return mlp ? ScoreMlp(model.layers[i], grams, damping, warn, &scores.layers[i])
                   : ScoreAttention(model.layers[i], grams, damping, model.config, warn,
                                    &scores.layers[i]);
      }));
  return scores;
}

}  // namespace espalier
