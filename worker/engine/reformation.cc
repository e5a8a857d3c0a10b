// New weights for the linears whose inputs were cut (docs/method.md, "Reformation").
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {
namespace {

at::Tensor Rows(const at::Tensor& matrix, const at::Tensor& index) {
  return matrix.index_select(0, index);
}

// tr(Eᵀ H E) for E [in, out].
double Energy(const at::Tensor& error, const at::Tensor& gram) {
  return at::mm(gram, error).mul_(error).sum().item<double>();
}

// Minimises ‖W X − W' X_S‖² + λ ‖W' − W_S‖²: with P the inputs that went,
// W'ᵀ = W_Sᵀ + (H_SS + λI)⁻¹ H_SP W_Pᵀ.
// At λ = 0 this is W H_{:,S} H_SS⁻¹. The ridge pulls towards the inherited weights instead of
// towards zero, so that for every λ the error is at most the inherited one's.
absl::StatusOr<at::Tensor> ClosedForm(const at::Tensor& weights, const at::Tensor& gram,
                                      const at::Tensor& kept, const at::Tensor& gone,
                                      double damping) {
  const at::Tensor kept_rows = Rows(gram, kept);
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor,
                            DampedCholesky(kept_rows.index_select(1, kept), damping));
  const at::Tensor residual = at::mm(kept_rows.index_select(1, gone), Rows(weights, gone));
  return Rows(weights, kept) + at::cholesky_solve(residual, factor.lower);
}

// The paper's ADMM (equations 10 to 12, with the mask's sense put right): alternate between the
// least-squares weights near the masked ones, and the mask. The Gram matrix is normalised to unit
// diagonal first; on the raw one ρ = 1 means something else in every layer and 30 iterations stop
// short (docs/method.md).
absl::StatusOr<at::Tensor> Admm(const at::Tensor& weights, const at::Tensor& gram,
                                const at::Tensor& kept, const ReformationSpec& options) {
  const double ridge = std::max(options.damping, 1e-12) * gram.diagonal().mean().item<double>();
  at::Tensor damped = gram.clone();
  damped.diagonal().add_(ridge > 0 ? ridge : 1.0);
  const at::Tensor scale = damped.diagonal().sqrt().unsqueeze(1);  // [in, 1]
  const at::Tensor normalised = damped / scale / scale.t();
  const at::Tensor target = at::mm(gram / scale / scale.t(), weights * scale);
  at::Tensor shifted = normalised.clone();
  shifted.diagonal().add_(options.rho);
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(shifted, 0));
  const at::Tensor inverse = at::cholesky_inverse(factor.lower);

  at::Tensor mask = at::zeros({weights.size(0), 1}, weights.options());
  mask.index_fill_(0, kept, 1.0);
  at::Tensor masked = weights * scale * mask;
  at::Tensor dual = at::zeros_like(masked);
  for (int64_t i = 0; i < options.iterations; ++i) {
    const at::Tensor free = at::mm(inverse, target + (masked - dual) * options.rho);
    masked = (free + dual) * mask;
    dual += free - masked;
  }
  return Rows(masked / scale, kept);
}

struct Linear {
  int64_t layer = 0;
  bool mlp = false;
};

}  // namespace

absl::StatusOr<Cholesky> DampedCholesky(const at::Tensor& matrix, double damping) {
  const at::Tensor full = matrix.to(at::kDouble);
  if (!at::isfinite(full).all().item<bool>()) {
    return absl::InvalidArgumentError(
        "a Gram matrix holds values that are not finite: the model overflows on the calibration "
        "text; try float32 precision");
  }
  double mean = full.diagonal().mean().item<double>();
  if (mean <= 0) mean = 1;  // all inputs are zero: any weights are as good
  for (double factor = damping;; factor = std::max(factor * 10, 1e-12)) {
    at::Tensor damped = full.clone();
    damped.diagonal().add_(factor * mean);
    const auto [lower, info] = at::linalg_cholesky_ex(damped);
    if (info.item<int>() == 0) return Cholesky{lower, factor};
    if (factor > 1) return absl::InternalError("a Gram matrix has no Cholesky factor");
  }
}

absl::StatusOr<ReformedLinear> ReformLinear(const at::Tensor& weights, const at::Tensor& gram,
                                            const std::vector<int64_t>& kept,
                                            const ReformationSpec& options) {
  const at::Tensor w = weights.to(at::kDouble);
  const at::Tensor h = gram.to(at::kDouble);
  const at::Tensor kept_index = at::tensor(kept, at::kLong);
  at::Tensor is_gone = at::ones({w.size(0)}, at::kBool);
  is_gone.index_fill_(0, kept_index, false);
  const at::Tensor gone_index = is_gone.nonzero().squeeze(1);

  const double total = std::max(Energy(w, h), std::numeric_limits<double>::min());
  const at::Tensor inherited = Rows(w, kept_index);
  at::Tensor error = w.clone();
  error.index_fill_(0, kept_index, 0.0);
  ReformedLinear result{inherited.to(at::kFloat), Energy(error, h) / total, 0};
  result.after = result.before;

  absl::StatusOr<at::Tensor> solved =
      options.method == ReformationMethod::kAdmm
          ? Admm(w, h, kept_index, options)
          : ClosedForm(w, h, kept_index, gone_index, options.damping);
  if (!solved.ok()) return solved.status();
  const at::Tensor rounded = solved->to(at::kFloat);
  error.index_copy_(0, kept_index, inherited - rounded.to(at::kDouble));
  const double after = Energy(error, h) / total;
  if (after <= result.before) {
    result.weights = rounded;
    result.after = after;
  }
  return result;
}

absl::StatusOr<Reformation> ComputeReformation(const ResidentModel& model,
                                               const Calibration& calibration, const Subnet& subnet,
                                               const ReformationSpec& options, ThreadPool* pool,
                                               const Control& control) {
  const auto layers = static_cast<int64_t>(model.layers.size());
  std::vector<Linear> linears;
  if (options.method != ReformationMethod::kNone) {
    for (int64_t i = 0; i < layers; ++i) {
      const LayerMask& mask = subnet.layers[i];
      const LayerMask& dense = model.subnet.layers[i];
      if (mask.HasAttention() && mask.attention != dense.attention) linears.push_back({i, false});
      if (mask.HasMlp() && mask.mlp != dense.mlp) linears.push_back({i, true});
    }
  }
  auto weights = std::make_shared<ReformedWeights>();
  weights->layers.resize(layers);
  const auto count = static_cast<int64_t>(linears.size());
  std::vector<ReformationError> errors(count);
  std::vector<absl::Status> statuses(count);
  std::atomic<int64_t> done{0};
  pool->ParallelFor(count, [&](int64_t item, int thread) {
    if (Cancelled(control)) return;
    const auto [i, mlp] = linears[item];
    const ResidentLayer& layer = model.layers[i];
    const LayerSelection selection =
        SelectLayer(subnet.layers[i], model.subnet.layers[i], model.config);
    const at::Tensor& dense = mlp ? layer.down_transposed : layer.o_transposed;
    const at::Tensor& gram = mlp ? calibration.layers[i].down : calibration.layers[i].o;
    absl::StatusOr<ReformedLinear> solved = ReformLinear(
        dense.to(at::kCPU), gram, mlp ? selection.channels : selection.query_rows, options);
    if (solved.ok()) {
      (mlp ? weights->layers[i].down_transposed : weights->layers[i].o_transposed) =
          solved->weights.to(model.device);
      errors[item] = {model.first_layer + i, mlp, solved->before, solved->after};
    } else {
      statuses[item] = solved.status();
    }
    const double fraction = static_cast<double>(++done) / static_cast<double>(count);
    if (thread == 0) Report(control, fraction);
  });
  if (Cancelled(control)) return CancelledError();
  for (int64_t item = 0; item < count; ++item) {
    if (statuses[item].ok()) continue;
    return absl::Status(
        statuses[item].code(),
        absl::StrCat("layer ", model.first_layer + linears[item].layer,
                     linears[item].mlp ? " down_proj: " : " o_proj: ", statuses[item].message()));
  }
  return Reformation{std::move(weights), std::move(errors)};
}

}  // namespace espalier
