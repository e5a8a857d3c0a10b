#include "worker/engine/progressive_reformation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

constexpr int64_t kRowsPerBatch = 16384;
constexpr int64_t kMostStarts = 2048;
constexpr int64_t kRowsPerItem = 1024;  // of a row-wise operation on one thread

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

// The rows of a matrix, or the kept ones.
at::Tensor KeptRows(const at::Tensor& resident, const std::vector<int64_t>& rows, bool all) {
  const at::Tensor kept =
      all ? resident : resident.index_select(0, at::tensor(rows, at::kLong).to(resident.device()));
  return kept.to(at::kFloat);
}

// A layer's selection without its other module.
LayerSelection OneModule(const LayerSelection& selection, bool mlp) {
  LayerSelection one = selection;
  if (mlp) {
    one.group_pairs.clear();
    one.pairs.clear();
    one.query_rows.clear();
    one.key_rows.clear();
  } else {
    one.channels.clear();
  }
  return one;
}

std::string ModuleName(const ResidentModel& model, int64_t layer, bool mlp) {
  return absl::StrCat("layer ", model.first_layer + layer, mlp ? " MLP" : " attention");
}

class Reformer {
 public:
  Reformer(const ResidentModel& model, const ReformationSpec& options, Backend* backend,
           ThreadPool* pool, const Control& control, std::vector<Streams>* streams)
      : model_(model),
        options_(options),
        backend_(backend),
        pool_(pool),
        control_(control),
        streams_(streams) {}

  // Fits one module and takes both streams past it.
  absl::Status Module(int64_t layer, bool mlp, LayerSelection* selection) {
    const LayerSelection dense = OneModule(Dense(layer), mlp);
    LayerSelection own = OneModule(*selection, mlp);
    const bool present = mlp ? own.has_mlp() : own.has_attention();
    if (present) {
      ESPALIER_RETURN_IF_ERROR(MapInputs(layer, mlp, &own));
      std::vector<at::Tensor> inner;
      ESPALIER_RETURN_IF_ERROR(FitOutputs(layer, mlp, dense, &own, &inner));
      ESPALIER_RETURN_IF_ERROR(AdvanceReformed(layer, own, inner));
      Store(own.weights, mlp, &selection->weights);
      return absl::OkStatus();
    }
    return AdvanceDense(layer, dense);
  }

  std::vector<ReformationError> errors() && { return std::move(errors_); }

 private:
  LayerSelection Dense(int64_t layer) const {
    const LayerMask& mask = model_.subnet.layers[layer];
    return SelectLayer(mask, mask, model_.config);
  }

  static void Store(const LayerWeights& from, bool mlp, LayerWeights* to) {
    if (mlp) {
      to->gate = from.gate;
      to->up = from.up;
      to->down_transposed = from.down_transposed;
    } else {
      to->q = from.q;
      to->k = from.k;
      to->v = from.v;
      to->o_transposed = from.o_transposed;
    }
  }

  // Calls body(first, count) for batches of the first `rows` of sequences; stops when cancelled.
  template <typename Body>
  absl::Status ForBatches(int64_t rows, int64_t length, Body body) {
    const int64_t batch = std::max<int64_t>(1, kRowsPerBatch / length) * length;
    for (int64_t first = 0; first < rows; first += batch) {
      if (Cancelled(control_)) return CancelledError();
      body(first, std::min(batch, rows - first));
    }
    return absl::OkStatus();
  }

  // Calls body(part, first, count) for batches of the fitted rows.
  template <typename Body>
  absl::Status ForFitted(Body body) {
    for (const Streams& part : *streams_) {
      ESPALIER_RETURN_IF_ERROR(
          ForBatches(part.fitted_rows, part.length,
                     [&](int64_t first, int64_t count) { body(part, first, count); }));
    }
    return absl::OkStatus();
  }

  // In the model's type, as its linears get it.
  at::Tensor Normalised(const at::Tensor& x, const at::Tensor& weight) {
    at::Tensor out = at::empty(x.sizes(), x.options().dtype(model_.type));
    const int64_t rows = x.size(0);
    pool_->ParallelFor((rows + kRowsPerItem - 1) / kRowsPerItem, [&](int64_t item, int) {
      const int64_t first = item * kRowsPerItem;
      const int64_t count = std::min(kRowsPerItem, rows - first);
      out.narrow(0, first, count)
          .copy_(RmsNorm(x.narrow(0, first, count), weight, model_.config.rms_norm_eps));
    });
    return out;
  }

  Warner Warn(int64_t layer, bool mlp) const {
    return WarnerOf(control_, ModuleName(model_, layer, mlp));
  }

  // (gram + λI)⁻¹ right, λ = damping · mean(diag gram).
  static absl::StatusOr<at::Tensor> Solve(const at::Tensor& gram, const at::Tensor& right,
                                          double damping, const Warner& warn) {
    ESPALIER_ASSIGN_OR_RETURN(const Cholesky factor, DampedCholesky(gram, damping, warn));
    return at::cholesky_solve(right.to(at::kDouble), factor.lower).to(at::kFloat);
  }

  absl::Status MapInputs(int64_t index, bool mlp, LayerSelection* own) {
    const ResidentLayer& layer = model_.layers[index];
    const at::Tensor& norm = mlp ? layer.mlp_norm : layer.attention_norm;
    const int64_t d = model_.config.hidden_size;
    at::Tensor gram = at::zeros({d, d}, StreamOptions());   // Σ h hᵀ
    at::Tensor cross = at::zeros({d, d}, StreamOptions());  // Σ h (ĥ − h)ᵀ
    ESPALIER_RETURN_IF_ERROR(ForFitted([&](const Streams& part, int64_t first, int64_t count) {
      const at::Tensor h = Normalised(part.reformed.narrow(0, first, count), norm);
      const at::Tensor dense = Normalised(part.dense.narrow(0, first, count), norm);
      backend_->AccumulateGram(h, &gram);
      backend_->AccumulateProduct(h, dense.to(at::kFloat).sub_(h).to(h.scalar_type()), &cross);
    }));
    backend_->FinishGram(&gram);
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor change,
                              Solve(gram, cross, options_.input_damping, Warn(index, mlp)));
    // Rows of weights w: w M h with M − I = changeᵀ.
    const auto mapped_rows = [&](const at::Tensor& kept) {
      return at::addmm(kept, kept, change.t()).to(model_.type);
    };
    const auto mapped = [&](const at::Tensor& resident, const std::vector<int64_t>& rows,
                            bool all) { return mapped_rows(KeptRows(resident, rows, all)); };
    LayerWeights& weights = own->weights;
    if (mlp) {
      weights.gate = mapped(layer.gate, own->channels, own->all_mlp);
      weights.up = mapped(layer.up, own->channels, own->all_mlp);
    } else {
      weights.q = weights.q.defined() ? mapped_rows(weights.q.to(at::kFloat))
                                      : mapped(layer.q, own->query_rows, own->all_attention);
      weights.k = mapped(layer.k, own->key_rows, own->all_attention);
      weights.v = weights.v.defined() ? mapped_rows(weights.v.to(at::kFloat))
                                      : mapped(layer.v, own->key_rows, own->all_attention);
    }
    return absl::OkStatus();
  }

  // Takes the dense streams past the module and fits the output weights to where it comes out.
  // `inner`: what the output linear gets in each batch, where that costs less to keep than to
  // compute again.
  absl::Status FitOutputs(int64_t index, bool mlp, const LayerSelection& dense, LayerSelection* own,
                          std::vector<at::Tensor>* inner) {
    const int64_t k = std::ssize(mlp ? own->channels : own->query_rows);
    at::Tensor gram = at::zeros({k, k}, StreamOptions());
    at::Tensor product = at::zeros({k, model_.config.hidden_size}, StreamOptions());
    double energy = 0;
    ESPALIER_RETURN_IF_ERROR(AdvanceDense(index, dense));
    ESPALIER_RETURN_IF_ERROR(ForFitted([&](const Streams& part, int64_t first, int64_t count) {
      const at::Tensor x = part.reformed.narrow(0, first, count);
      // The square root of the weight is a factor of both sides of the regression.
      const double factor = std::sqrt(part.weight);
      const at::Tensor target = (part.dense.narrow(0, first, count) - x).mul_(factor);
      energy += target.square().sum(at::kDouble).item<double>();
      const at::Tensor rows =
          backend_->Inner(model_, index, *own, count / part.length, part.length, x);
      const at::Tensor a = factor == 1 ? rows : rows.to(at::kFloat) * factor;
      backend_->AccumulateGram(a, &gram);
      // In a bfloat16 job the targets are rounded, by a thousandth of what they are; what they have
      // that no weights explain is a hundred times that.
      backend_->AccumulateProduct(a, target.to(a.scalar_type()), &product);
      if (backend_->KeepsInner()) inner->push_back(rows);
    }));
    backend_->FinishGram(&gram);
    at::Tensor* weights = mlp ? &own->weights.down_transposed : &own->weights.o_transposed;
    if (!weights->defined()) {
      const ResidentLayer& layer = model_.layers[index];
      *weights = mlp ? KeptRows(layer.down_transposed, own->channels, own->all_mlp)
                     : KeptRows(layer.o_transposed, own->query_rows, own->all_attention);
    }
    *weights = weights->to(at::kFloat);
    const auto error = [&](const at::Tensor& w) {
      const double cross = (w * product).sum(at::kDouble).item<double>();
      return (energy - 2 * cross + OutputEnergy(w, gram)) /
             std::max(energy, std::numeric_limits<double>::min());
    };
    const double before = error(*weights);
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor change,
                              Solve(gram, product - at::mm(gram, *weights),
                                    options_.progressive_damping, Warn(index, mlp)));
    *weights = *weights + change;
    errors_.push_back({model_.first_layer + index, mlp, before, error(*weights)});
    return absl::OkStatus();
  }

  absl::Status AdvanceDense(int64_t layer, const LayerSelection& dense) {
    for (Streams& part : *streams_) {
      ESPALIER_RETURN_IF_ERROR(Advance(layer, dense, part.length, part.dense));
    }
    return absl::OkStatus();
  }

  absl::Status AdvanceReformed(int64_t layer, const LayerSelection& own,
                               const std::vector<at::Tensor>& inner) {
    auto next = inner.begin();
    for (Streams& part : *streams_) {
      if (inner.empty()) {
        ESPALIER_RETURN_IF_ERROR(Advance(layer, own, part.length, part.reformed));
        continue;
      }
      const int64_t fitted = part.fitted_rows;
      ESPALIER_RETURN_IF_ERROR(ForBatches(fitted, part.length, [&](int64_t first, int64_t count) {
        at::Tensor x = part.reformed.narrow(0, first, count);
        backend_->AddOutput(model_, layer, own, *next++, &x);
      }));
      at::Tensor rest = part.reformed.narrow(0, fitted, part.reformed.size(0) - fitted);
      ESPALIER_RETURN_IF_ERROR(Advance(layer, own, part.length, rest));
    }
    return absl::OkStatus();
  }

  absl::Status Advance(int64_t layer, const LayerSelection& selection, int64_t length,
                       at::Tensor& stream) {
    return ForBatches(stream.size(0), length, [&](int64_t first, int64_t count) {
      at::Tensor x = stream.narrow(0, first, count);
      backend_->RunLayer(model_, layer, selection, count / length, length, &x, {});
    });
  }

  at::TensorOptions StreamOptions() const { return streams_->front().dense.options(); }

  const ResidentModel& model_;
  const ReformationSpec options_;
  Backend* const backend_;
  ThreadPool* const pool_;
  const Control& control_;
  std::vector<Streams>* const streams_;  // at least one
  std::vector<ReformationError> errors_;
};

}  // namespace

std::vector<int32_t> SequenceStarts(const std::vector<int32_t>& tokens, int64_t fitted) {
  const int64_t count = std::min(kMostStarts, fitted);
  std::vector<int32_t> starts;
  starts.reserve(count);
  for (int64_t i = 0; i < count; ++i) starts.push_back(tokens[i * fitted / count]);
  return starts;
}

absl::StatusOr<Reformation> ComputeProgressiveReformation(const ResidentModel& model,
                                                          std::vector<LayerSelection> selections,
                                                          const ReformationSpec& options,
                                                          Backend* backend, ThreadPool* pool,
                                                          const Control& control,
                                                          std::vector<Streams>* streams) {
  Reformer reformer(model, options, backend, pool, control, streams);
  auto weights = std::make_shared<ReformedWeights>();
  const auto layers = std::ssize(selections);
  for (int64_t i = 0; i < layers; ++i) {
    for (const bool mlp : {false, true}) {
      const absl::Status status = reformer.Module(i, mlp, &selections[i]);
      if (!status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(ModuleName(model, i, mlp), ": ", status.message()));
      }
      Report(control, static_cast<double>(2 * i + (mlp ? 2 : 1)) / static_cast<double>(2 * layers));
    }
    weights->layers.push_back(selections[i].weights);
  }
  return Reformation{std::move(weights), std::move(reformer).errors()};
}

}  // namespace espalier
