// Unit scores of the baselines (docs/method.md, "Baselines").
#include <ATen/ATen.h>

#include "common/status_macros.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {
namespace {

// A linear whose inputs are the units, o or down, and what calibration saw of its inputs.
struct OutputLinear {
  const at::Tensor& transposed;  // [in, out]
  const at::Tensor& gram;        // [in, in]
  const at::Tensor& sum;         // [in]
};

at::Tensor Double(const at::Tensor& weights) { return weights.to(at::kCPU, at::kDouble); }

// Σ w² of every row.
at::Tensor RowEnergy(const at::Tensor& weights) { return Double(weights).square().sum(1); }

// Σ (x − x̄)² / (n − 1) of every input. What float32 Gram matrices leave below zero is none.
at::Tensor SampleVariance(const OutputLinear& linear, int64_t positions) {
  const auto n = static_cast<double>(positions);
  const at::Tensor squares = linear.gram.diagonal().to(at::kDouble);
  return ((squares - linear.sum.square() / n) / std::max(n - 1, 1.0)).clamp_min(0);
}

// Of every input, float64 [in].
at::Tensor InputScores(const OutputLinear& linear, ScoreKind kind, int64_t positions) {
  switch (kind) {
    case ScoreKind::kWanda:
      return Double(linear.transposed).abs().sum(1) * linear.gram.diagonal().to(at::kDouble).sqrt();
    case ScoreKind::kFluctuation:
      return RowEnergy(linear.transposed) * SampleVariance(linear, positions);
    case ScoreKind::kMagnitude:
    case ScoreKind::kImportance:
      break;
  }
  return RowEnergy(linear.transposed);
}

// In standard deviations of the sample; all 0 where inputs do not differ.
at::Tensor InDeviations(const at::Tensor& scores) {
  const auto n = static_cast<double>(scores.numel());
  const at::Tensor deviation =
      ((scores - scores.mean()).square().sum() / std::max(n - 1, 1.0)).sqrt();
  return deviation.item<double>() > 0 ? scores / deviation : at::zeros_like(scores);
}

absl::Status CheckFinite(const at::Tensor& scores) {
  if (at::isfinite(scores).all().item<bool>()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "scores are not finite: the model overflows on the calibration text; try float32 precision");
}

absl::Status ScoreAttention(const ResidentLayer& layer, const OutputLinear& o, ScoreKind kind,
                            int64_t positions, const ModelConfig& config, LayerScores* scores) {
  const int64_t groups = config.num_kv_heads;
  const int64_t pairs = config.pairs();
  // Rows are [group][head][half][pair].
  const auto by_pair = [&](const at::Tensor& rows) {
    return rows.view({groups, rows.numel() / groups / pairs, pairs}).sum(1);
  };
  at::Tensor inputs = InputScores(o, kind, positions);
  ESPALIER_RETURN_IF_ERROR(CheckFinite(inputs));
  // Squared, as FLAP's published code does.
  if (kind == ScoreKind::kFluctuation) inputs = InDeviations(inputs.square());
  at::Tensor total = by_pair(inputs);
  if (kind == ScoreKind::kMagnitude) {
    total = total + by_pair(RowEnergy(layer.q)) + by_pair(RowEnergy(layer.k) + RowEnergy(layer.v));
  }
  ESPALIER_RETURN_IF_ERROR(CheckFinite(total));
  total = total.contiguous();
  const double* data = total.data_ptr<double>();
  for (int64_t g = 0; g < groups; ++g) {
    scores->attention.emplace_back(data + g * pairs, data + (g + 1) * pairs);
  }
  return absl::OkStatus();
}

absl::Status ScoreMlp(const ResidentLayer& layer, const OutputLinear& down, ScoreKind kind,
                      int64_t positions, LayerScores* scores) {
  at::Tensor total = InputScores(down, kind, positions);
  ESPALIER_RETURN_IF_ERROR(CheckFinite(total));
  if (kind == ScoreKind::kFluctuation) total = InDeviations(total);
  if (kind == ScoreKind::kMagnitude) {
    total = total + RowEnergy(layer.gate) + RowEnergy(layer.up);
  }
  ESPALIER_RETURN_IF_ERROR(CheckFinite(total));
  total = total.contiguous();
  const double* data = total.data_ptr<double>();
  scores->mlp.assign(data, data + total.numel());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UnitScores> ComputeBaselineScores(const ResidentModel& model,
                                                 const Calibration& calibration, ScoreKind kind,
                                                 ThreadPool* pool, const Control& control) {
  UnitScores scores;
  scores.layers.resize(model.layers.size());
  const int64_t positions = calibration.positions;
  ESPALIER_RETURN_IF_ERROR(
      ForModules(model, pool, control, [&](int64_t i, bool mlp, const Warner&) {
        const ResidentLayer& layer = model.layers[i];
        const LayerGrams& grams = calibration.layers[i];
        return mlp ? ScoreMlp(layer, {layer.down_transposed, grams.down, grams.down_sum}, kind,
                              positions, &scores.layers[i])
                   : ScoreAttention(layer, {layer.o_transposed, grams.o, grams.o_sum}, kind,
                                    positions, model.config, &scores.layers[i]);
      }));
  return scores;
}

}  // namespace espalier
