// New weights for the linears whose inputs were cut (docs/method.md, "Reformation").
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "worker/engine/attention_effects.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"
#include "worker/engine/value_bases.h"

namespace espalier {
namespace {

at::Tensor Rows(const at::Tensor& matrix, const at::Tensor& index) {
  return matrix.index_select(0, index);
}

// The inputs, of `inputs`, that are not kept.
at::Tensor GoneIndex(int64_t inputs, const at::Tensor& kept_index) {
  at::Tensor is_gone = at::ones({inputs}, kept_index.options().dtype(at::kBool));
  is_gone.index_fill_(0, kept_index, false);
  return is_gone.nonzero().squeeze(1);
}

// Minimises ‖W X − W' X_S‖² + λ ‖W' − W_S‖² over W' = W_S + Δ: with P the inputs that went,
// Δᵀ = (H_SS + λI)⁻¹ H_SP W_Pᵀ.
// At λ = 0, W' is W H_{:,S} H_SS⁻¹. The ridge pulls towards the inherited weights instead of
// towards zero, so that for every λ the error is at most the inherited one's.
absl::StatusOr<at::Tensor> ClosedFormChange(const at::Tensor& kept_gram, const at::Tensor& residual,
                                            double damping, const Warner& warn) {
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(kept_gram, damping, warn));
  return at::cholesky_solve(residual, factor.lower);
}

// The paper's ADMM (equations 10 to 12, with the mask's sense put right): alternate between the
// least-squares weights near the masked ones, and the mask. The Gram matrix is normalised to unit
// diagonal first; on the raw one ρ = 1 means something else in every layer and 30 iterations stop
// short (docs/method.md).
absl::StatusOr<at::Tensor> AdmmChange(const at::Tensor& weights, const at::Tensor& gram,
                                      const at::Tensor& kept, const at::Tensor& inherited,
                                      const ReformationSpec& options, const Control& control,
                                      const Warner& warn) {
  const double ridge = std::max(options.damping, 1e-12) * gram.diagonal().mean().item<double>();
  at::Tensor damped = gram.clone();
  damped.diagonal().add_(ridge > 0 ? ridge : 1.0);
  const at::Tensor scale = damped.diagonal().sqrt().unsqueeze(1);  // [in, 1]
  const at::Tensor normalised = damped / scale / scale.t();
  const at::Tensor target = at::mm(gram / scale / scale.t(), weights * scale);
  at::Tensor shifted = normalised.clone();
  shifted.diagonal().add_(options.rho);
  ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(shifted, 0, warn));
  const at::Tensor inverse = at::cholesky_inverse(factor.lower);

  at::Tensor mask = at::zeros({weights.size(0), 1}, weights.options());
  mask.index_fill_(0, kept, 1.0);
  at::Tensor masked = weights * scale * mask;
  at::Tensor dual = at::zeros_like(masked);
  for (int64_t i = 0; i < options.iterations; ++i) {
    if (Cancelled(control)) return CancelledError();
    const at::Tensor free = at::mm(inverse, target + (masked - dual) * options.rho);
    masked = (free + dual) * mask;
    dual += free - masked;
  }
  return Rows(masked / scale, kept) - inherited;
}

at::Tensor Index(const std::vector<int64_t>& indices, const at::Tensor& where) {
  return at::tensor(indices, at::kLong).to(where.device());
}

struct Linear {
  int64_t layer = 0;
  bool mlp = false;
};

}  // namespace

double OutputEnergy(const at::Tensor& weights_transposed, const at::Tensor& gram) {
  return at::mm(gram, weights_transposed).mul_(weights_transposed).sum(at::kDouble).item<double>();
}

absl::Status CheckFinite(const at::Tensor& gram) {
  if (at::isfinite(gram).all().item<bool>()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "a Gram matrix holds values that are not finite: the model overflows on the calibration "
      "text; try float32 precision");
}

absl::StatusOr<Cholesky> DampedCholesky(const at::Tensor& matrix, double damping,
                                        const Warner& warn) {
  ESPALIER_RETURN_IF_ERROR(CheckFinite(matrix));
  const at::Tensor full = matrix.to(at::kDouble);
  double mean = full.diagonal().mean().item<double>();
  if (mean <= 0) mean = 1;  // all inputs are zero: any weights are as good
  for (double factor = damping;; factor = std::max(factor * 10, 1e-12)) {
    at::Tensor damped = full.clone();
    damped.diagonal().add_(factor * mean);
    const auto [lower, info] = at::linalg_cholesky_ex(damped);
    if (info.item<int>() == 0) {
      if (factor > damping && warn) {
        warn(
            absl::StrFormat("a Gram matrix is nearly singular; it was damped by %g of its mean "
                            "diagonal instead of %g (more calibration text may help)",
                            factor, damping));
      }
      return Cholesky{lower, factor};
    }
    if (factor > 1) return absl::InternalError("a Gram matrix has no Cholesky factor");
  }
}

absl::StatusOr<ReformedLinear> ReformLinear(const at::Tensor& weights, const at::Tensor& gram,
                                            const std::vector<int64_t>& kept,
                                            const ReformationSpec& options, double energy,
                                            const Warner& warn, const Control& control) {
  const at::Tensor w = weights.to(at::kDouble);
  const at::Tensor h = gram.to(at::kDouble);
  const at::Tensor kept_index = Index(kept, w);
  const at::Tensor gone_index = GoneIndex(w.size(0), kept_index);
  const double total = std::max(energy, std::numeric_limits<double>::min());

  const at::Tensor inherited = Rows(w, kept_index);
  const at::Tensor gone = Rows(w, gone_index);
  // H_{:,P} W_Pᵀ: what the inputs that go contributed, as all inputs see it.
  const at::Tensor lost = at::mm(h.index_select(1, gone_index), gone);
  const double before = (Rows(lost, gone_index) * gone).sum().item<double>();
  ReformedLinear result{inherited.to(at::kFloat), before / total, before / total};

  const at::Tensor kept_gram = Rows(h, kept_index).index_select(1, kept_index);
  const at::Tensor residual = Rows(lost, kept_index);
  absl::StatusOr<at::Tensor> change =
      options.method == ReformationMethod::kAdmm
          ? AdmmChange(w, h, kept_index, inherited, options, control, warn)
          : ClosedFormChange(kept_gram, residual, options.damping, warn);
  if (!change.ok()) return change.status();
  // ‖W X − W' X_S‖² of W' = W_S + Δ: before − 2 ⟨Δ, H_SP W_P⟩ + ⟨Δ, H_SS Δ⟩.
  const double after =
      before - 2 * (*change * residual).sum().item<double>() + OutputEnergy(*change, kept_gram);
  if (after <= before) {
    result.weights = (inherited + *change).to(at::kFloat);
    result.after = std::max(after, 0.0) / total;
  }
  return result;
}

ReformedLinear CompensatingBias(const at::Tensor& weights, const at::Tensor& gram,
                                const at::Tensor& sum, int64_t positions,
                                const std::vector<int64_t>& kept, double energy) {
  const at::Tensor gone_index = GoneIndex(weights.size(0), Index(kept, weights));
  const at::Tensor gone = Rows(weights.to(at::kDouble), gone_index);
  const at::Tensor gone_gram = Rows(gram.to(at::kDouble), gone_index).index_select(1, gone_index);
  const auto n = static_cast<double>(positions);
  const at::Tensor bias = at::mv(gone.t(), sum.index_select(0, gone_index)) / n;
  const double total = std::max(energy, std::numeric_limits<double>::min());
  const double before = OutputEnergy(gone, gone_gram);
  const double after = before - n * bias.square().sum().item<double>();
  return {bias.to(at::kFloat), before / total, std::max(after, 0.0) / total};
}

namespace {

// The linears whose inputs `subnet` cuts.
std::vector<Linear> CutLinears(const ResidentModel& model, const Subnet& subnet) {
  std::vector<Linear> linears;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const LayerMask& mask = subnet.layers[i];
    const LayerMask& dense = model.subnet.layers[i];
    const auto layer = static_cast<int64_t>(i);
    if (mask.HasAttention() && mask.attention != dense.attention) linears.push_back({layer, false});
    if (mask.HasMlp() && mask.mlp != dense.mlp) linears.push_back({layer, true});
  }
  return linears;
}

std::string NameOf(const ResidentModel& model, const Linear& linear) {
  return absl::StrCat("layer ", model.first_layer + linear.layer,
                      linear.mlp ? " down_proj" : " o_proj");
}

// Puts a reformation's result where it belongs.
void Place(const RepairedModule& module, const Linear& linear, const ReformationSpec& options,
           const ResidentModel& model, const LayerMask& mask, LayerWeights* weights) {
  const bool bias = options.method == ReformationMethod::kBias;
  if (linear.mlp) {
    (bias ? weights->down_bias : weights->down_transposed) = module.tensors[0];
    return;
  }
  (bias ? weights->o_bias : weights->o_transposed) = module.tensors[0];
  if (options.method != ReformationMethod::kProjected) return;
  weights->v = module.tensors[1];
  const ResidentLayer& layer = model.layers[linear.layer];
  const std::vector<int64_t> kept = QueryRows(mask, model.config);
  weights->q =
      (Rows(layer.q, Index(kept, layer.q)) * module.tensors[2].unsqueeze(1)).to(model.type);
}

// Factors of the kept rows of q (PairFactors), float32.
at::Tensor QueryFactors(const at::Tensor& patterns, const LayerSelection& selection,
                        const ModelConfig& config) {
  std::vector<at::Tensor> factors;
  for (int64_t head = 0; head < config.num_heads; ++head) {
    const std::vector<int64_t>& kept = selection.pairs[head / config.queries_per_group()];
    if (kept.empty()) continue;
    const at::Tensor of_pairs = PairFactors(patterns[head], kept).to(at::kFloat);
    factors.push_back(of_pairs);  // of both halves
    factors.push_back(of_pairs);
  }
  return at::cat(factors);
}

// In the model's type, but for the factors: only candidates and the start of progressive
// reformation are made of it, and products round weights to that type anyway.
absl::StatusOr<RepairedModule> ProjectAttention(const ResidentLayer& layer, const at::Tensor& gram,
                                                const at::Tensor& patterns,
                                                const LayerSelection& selection,
                                                const ModelConfig& config, at::ScalarType type,
                                                const ReformationSpec& options, double energy,
                                                const Warner& warn) {
  ESPALIER_ASSIGN_OR_RETURN(const at::Tensor bases, ValueBases(layer.o_transposed, gram, config));
  const std::vector<int64_t> kept =
      FirstDirections(selection.group_pairs, config.num_heads, config.head_dim);
  ESPALIER_ASSIGN_OR_RETURN(const ReformedLinear solved,
                            ReformLinear(InBases(bases, layer.o_transposed),
                                         GramInBases(bases, gram), kept, options, energy, warn));
  const std::vector<int64_t> values =
      FirstDirections(selection.group_pairs, config.num_kv_heads, config.head_dim);
  const at::Tensor v = Rows(InBases(bases, layer.v), Index(values, bases)).to(type);
  const at::Tensor factors = QueryFactors(patterns, selection, config).to(v.device());
  return RepairedModule{{solved.weights.to(type), v, factors}, solved.before, solved.after};
}

// Everything that a repaired module follows from, beside the model and the calibration.
std::string RepairKey(const Linear& linear, const LayerMask& mask, const ReformationSpec& options) {
  std::string key = absl::StrFormat("%d %d %d %.17g %.17g %d ", linear.layer, linear.mlp,
                                    static_cast<int>(options.method), options.damping, options.rho,
                                    options.iterations);
  if (linear.mlp) return key + mask.mlp.bytes();
  for (const Bitmask& group : mask.attention) key += group.bytes();
  return key;
}

}  // namespace

absl::StatusOr<Reformation> ComputeReformation(const ResidentModel& model,
                                               const Calibration& calibration, const Subnet& subnet,
                                               const ReformationSpec& options, ThreadPool* pool,
                                               const Control& control) {
  auto weights = std::make_shared<ReformedWeights>();
  weights->layers.resize(model.layers.size());
  weights->biases = options.method == ReformationMethod::kBias;
  if (options.method == ReformationMethod::kNone) return Reformation{std::move(weights), {}};
  const std::vector<Linear> linears = CutLinears(model, subnet);
  const auto count = static_cast<int64_t>(linears.size());
  std::vector<RepairedModule> repaired(count);
  std::vector<std::string> keys(count);
  std::vector<int64_t> missing;
  for (int64_t item = 0; item < count; ++item) {
    keys[item] = RepairKey(linears[item], subnet.layers[linears[item].layer], options);
    if (auto known = calibration.repairs.Find(keys[item])) {
      repaired[item] = *std::move(known);
    } else {
      missing.push_back(item);
    }
  }
  if (options.method == ReformationMethod::kProjected) {
    calibration.patterns.resize(model.layers.size());
    for (const int64_t item : missing) {
      const auto [i, mlp] = linears[item];
      if (Cancelled(control)) return CancelledError();
      at::Tensor& patterns = calibration.patterns[i];
      if (mlp || patterns.defined()) continue;
      patterns = PatternGrams(model, i, calibration.first_inputs[i].to(model.device), pool);
    }
  }
  std::vector<absl::Status> statuses(count);
  std::atomic<int64_t> done{0};
  pool->ParallelFor(std::ssize(missing), [&](int64_t place, int thread) {
    if (Cancelled(control)) return;
    const int64_t item = missing[place];
    const auto [i, mlp] = linears[item];
    const ResidentLayer& layer = model.layers[i];
    const LayerSelection selection =
        SelectLayer(subnet.layers[i], model.subnet.layers[i], model.config);
    const at::Tensor& dense = mlp ? layer.down_transposed : layer.o_transposed;
    const LayerGrams& grams = calibration.layers[i];
    const at::Tensor gram = (mlp ? grams.down : grams.o).to(model.device);
    const std::vector<int64_t>& kept = mlp ? selection.channels : selection.query_rows;
    const double energy = mlp ? grams.down_energy : grams.o_energy;
    const Warner warn = WarnerOf(control, NameOf(model, linears[item]));
    if (options.method == ReformationMethod::kProjected && !mlp) {
      absl::StatusOr<RepairedModule> solved =
          ProjectAttention(layer, gram, calibration.patterns[i], selection, model.config,
                           model.type, options, energy, warn);
      statuses[item] = solved.status();
      if (solved.ok()) repaired[item] = *std::move(solved);
    } else {
      absl::StatusOr<ReformedLinear> solved =
          weights->biases
              ? CompensatingBias(dense, gram, (mlp ? grams.down_sum : grams.o_sum).to(model.device),
                                 calibration.positions, kept, energy)
              : ReformLinear(dense, gram, kept, options, energy, warn, control);
      statuses[item] = solved.status();
      const bool projected = options.method == ReformationMethod::kProjected;
      if (solved.ok()) {
        repaired[item] = {{projected ? solved->weights.to(model.type) : solved->weights},
                          solved->before,
                          solved->after};
      }
    }
    const double fraction = static_cast<double>(++done) / static_cast<double>(missing.size());
    if (thread == 0) Report(control, fraction);
  });
  if (Cancelled(control)) return CancelledError();
  std::vector<ReformationError> errors;
  errors.reserve(linears.size());
  for (int64_t item = 0; item < count; ++item) {
    const auto [i, mlp] = linears[item];
    if (!statuses[item].ok()) {
      return absl::Status(statuses[item].code(), absl::StrCat(NameOf(model, linears[item]), ": ",
                                                              statuses[item].message()));
    }
    Place(repaired[item], linears[item], options, model, subnet.layers[i], &weights->layers[i]);
    errors.push_back({model.first_layer + i, mlp, repaired[item].before, repaired[item].after});
  }
  for (const int64_t item : missing) calibration.repairs.Insert(keys[item], repaired[item]);
  const absl::Status spill = calibration.repairs.TakeSpillError();
  if (!spill.ok() && control.warn) control.warn(std::string(spill.message()));
  return Reformation{std::move(weights), std::move(errors)};
}

}  // namespace espalier
