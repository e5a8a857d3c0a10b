// The model in plain libtorch operations: what CUDA devices run, and what the fused CPU path is
// compared with in tests.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "worker/engine/backend.h"

namespace espalier {
namespace {

constexpr int64_t kVocabularyRows = 512;  // rows of logits that exist at a time

at::Tensor Indices(const std::vector<int64_t>& values, const at::Device& device) {
  return at::tensor(values, at::kLong).to(device);
}

void AddBias(const at::Tensor& replacement, const at::Tensor& resident, at::Tensor* x) {
  const at::Tensor& bias = replacement.defined() ? replacement : resident;
  if (bias.defined()) x->add_(bias);
}

// left · right of one type, summed and returned in float32.
at::Tensor Product(const at::Tensor& left, const at::Tensor& right) {
  if (left.scalar_type() == at::kFloat) return at::mm(left, right);
  if (left.is_cuda()) return at::mm(left, right, at::kFloat);
  // libtorch has that kind of product for CUDA alone.
  return at::mm(left.to(at::kFloat), right.to(at::kFloat));
}

// product += leftᵀ · right of one type; sums in float32.
void AddProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* product) {
  if (left.scalar_type() == at::kFloat) {
    product->addmm_(left.t(), right);
  } else {
    product->add_(Product(left.t(), right));
  }
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + eps) * weight;
}

// Heads of one KV group at a common width: [sequences, heads, length, 2n], rotated.
at::Tensor Rotate(const at::Tensor& heads, const at::Tensor& cos, const at::Tensor& sin) {
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1);
}

class TensorBackend : public Backend {
 public:
  at::Tensor Embed(const ResidentModel& model, const int32_t* tokens, int64_t rows) override {
    const at::Tensor ids = at::from_blob(const_cast<int32_t*>(tokens), {rows}, at::kInt);
    return model.embedding.index_select(0, ids.to(at::kLong).to(model.device)).to(at::kFloat);
  }

  void RunLayer(const ResidentModel& model, int64_t index, const LayerSelection& selection,
                int64_t sequences, int64_t length, at::Tensor* x,
                const LayerObserver& observer) override {
    const ResidentLayer& layer = model.layers[index];
    LayerInputs inputs;
    scratch_now_ = 0;
    if (selection.has_attention()) {
      inputs.o = Attention(model, layer, selection, sequences, length, *x, &inputs.qkv);
      AddAttention(layer, selection, inputs.o, x);
    }
    if (selection.has_mlp()) {
      inputs.down = Mlp(model, layer, selection, *x, &inputs.gate_up);
      AddMlp(layer, selection, inputs.down, x);
    }
    NoteMemory(*x);
    if (observer) observer(inputs);
  }

  at::Tensor Inner(const ResidentModel& model, int64_t index, const LayerSelection& selection,
                   int64_t sequences, int64_t length, const at::Tensor& x) override {
    const ResidentLayer& layer = model.layers[index];
    scratch_now_ = 0;
    at::Tensor input;
    at::Tensor inner = selection.has_mlp()
                           ? Mlp(model, layer, selection, x, &input)
                           : Attention(model, layer, selection, sequences, length, x, &input);
    NoteMemory(x);
    return inner;
  }
  void AddOutput(const ResidentModel& model, int64_t index, const LayerSelection& selection,
                 const at::Tensor& inner, at::Tensor* x) override {
    scratch_now_ = 0;
    if (selection.has_mlp()) {
      AddMlp(model.layers[index], selection, inner, x);
    } else {
      AddAttention(model.layers[index], selection, inner, x);
    }
    NoteMemory(*x);
  }

  bool KeepsInner() const override { return false; }

  std::vector<LossSums> Losses(const ResidentModel& model, const at::Tensor& final_norm,
                               const at::Tensor& x, const int32_t* tokens, int64_t sequences,
                               int64_t length, const DenseRows* dense) override;
  DenseRows Predictions(const ResidentModel& model, const at::Tensor& x) override;

  void AccumulateGram(const at::Tensor& input, at::Tensor* gram) override {
    AddProduct(input, input, gram);
  }
  void FinishGram(at::Tensor*) override {}
  void AccumulateProduct(const at::Tensor& left, const at::Tensor& right,
                         at::Tensor* product) override {
    AddProduct(left, right, product);
  }

  int64_t scratch_bytes() const override { return scratch_bytes_; }
  int64_t activation_bytes() const override { return activation_bytes_; }

 private:
  at::Tensor Gather(const at::Tensor& matrix, const std::vector<int64_t>& rows, bool all) {
    if (all) return matrix;
    at::Tensor gathered = matrix.index_select(0, Indices(rows, matrix.device()));
    scratch_now_ += static_cast<int64_t>(gathered.nbytes());
    return gathered;
  }
  at::Tensor Pick(const at::Tensor& replacement, const at::Tensor& matrix,
                  const std::vector<int64_t>& rows, bool all) {
    return replacement.defined() ? replacement.to(matrix.scalar_type()) : Gather(matrix, rows, all);
  }
  // The inputs of o and of down; those of the linears before them as `input`.
  at::Tensor Attention(const ResidentModel& model, const ResidentLayer& layer,
                       const LayerSelection& selection, int64_t sequences, int64_t length,
                       const at::Tensor& x, at::Tensor* input);
  at::Tensor Mlp(const ResidentModel& model, const ResidentLayer& layer,
                 const LayerSelection& selection, const at::Tensor& x, at::Tensor* input);
  void AddAttention(const ResidentLayer& layer, const LayerSelection& selection,
                    const at::Tensor& inner, at::Tensor* x);
  void AddMlp(const ResidentLayer& layer, const LayerSelection& selection, const at::Tensor& inner,
              at::Tensor* x);
  void NoteMemory(const at::Tensor& x) {
    scratch_bytes_ = std::max(scratch_bytes_, scratch_now_);
    activation_bytes_ = std::max(activation_bytes_, static_cast<int64_t>(x.nbytes()));
  }

  int64_t scratch_now_ = 0;
  int64_t scratch_bytes_ = 0;
  int64_t activation_bytes_ = 0;
};

at::Tensor TensorBackend::Attention(const ResidentModel& model, const ResidentLayer& layer,
                                    const LayerSelection& selection, int64_t sequences,
                                    int64_t length, const at::Tensor& x, at::Tensor* input) {
  const ModelConfig& config = model.config;
  const int64_t r = config.queries_per_group();
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  const RotaryTable table = MakeRotaryTable(config, length);
  *input = RmsNorm(x, layer.attention_norm, config.rms_norm_eps).to(model.type);
  const LayerWeights& weights = selection.weights;
  const auto project = [&](const at::Tensor& replacement, const at::Tensor& matrix,
                           const std::vector<int64_t>& rows) {
    return at::linear(*input, Pick(replacement, matrix, rows, selection.all_attention))
        .to(at::kFloat);
  };
  const at::Tensor q = project(weights.q, layer.q, selection.query_rows);
  const at::Tensor k = project(weights.k, layer.k, selection.key_rows);
  const at::Tensor v = project(weights.v, layer.v, selection.key_rows);

  std::vector<at::Tensor> outputs;
  int64_t column = 0;
  for (size_t g = 0; g < selection.pairs.size(); ++g) {
    const int64_t width = 2 * selection.group_pairs[g];
    if (width == 0) continue;
    const at::Tensor kept = Indices(selection.pairs[g], at::kCPU);
    const at::Tensor cos = table.cos.index_select(1, kept).to(model.device);
    const at::Tensor sin = table.sin.index_select(1, kept).to(model.device);
    const auto heads = [&](const at::Tensor& all, int64_t first, int64_t count) {
      return all.narrow(1, first, count * width)
          .view({sequences, length, count, width})
          .transpose(1, 2);
    };
    const at::Tensor query = Rotate(heads(q, r * column, r), cos, sin).to(model.type);
    const at::Tensor key = Rotate(heads(k, column, 1), cos, sin).to(model.type);
    const at::Tensor value = heads(v, column, 1).to(model.type);
    const at::Tensor out = at::scaled_dot_product_attention(query, key.expand({-1, r, -1, -1}),
                                                            value.expand({-1, r, -1, -1}), {}, 0.0,
                                                            /*is_causal=*/true, scale);
    outputs.push_back(out.transpose(1, 2).reshape({sequences * length, r * width}));
    column += width;
  }
  return at::cat(outputs, 1);
}

void TensorBackend::AddAttention(const ResidentLayer& layer, const LayerSelection& selection,
                                 const at::Tensor& inner, at::Tensor* x) {
  const at::Tensor o = Pick(selection.weights.o_transposed, layer.o_transposed,
                            selection.query_rows, selection.all_attention);
  x->add_(at::mm(inner, o).to(at::kFloat));
  AddBias(selection.weights.o_bias, layer.o_bias, x);
}

at::Tensor TensorBackend::Mlp(const ResidentModel& model, const ResidentLayer& layer,
                              const LayerSelection& selection, const at::Tensor& x,
                              at::Tensor* input) {
  *input = RmsNorm(x, layer.mlp_norm, model.config.rms_norm_eps).to(model.type);
  const auto project = [&](const at::Tensor& replacement, const at::Tensor& matrix) {
    const at::Tensor rows = Pick(replacement, matrix, selection.channels, selection.all_mlp);
    return at::linear(*input, rows).to(at::kFloat);
  };
  const at::Tensor gate = project(selection.weights.gate, layer.gate);
  const at::Tensor up = project(selection.weights.up, layer.up);
  return (at::silu(gate) * up).to(model.type);
}

void TensorBackend::AddMlp(const ResidentLayer& layer, const LayerSelection& selection,
                           const at::Tensor& inner, at::Tensor* x) {
  const at::Tensor down = Pick(selection.weights.down_transposed, layer.down_transposed,
                               selection.channels, selection.all_mlp);
  x->add_(at::mm(inner, down).to(at::kFloat));
  AddBias(selection.weights.down_bias, layer.down_bias, x);
}

std::vector<LossSums> TensorBackend::Losses(const ResidentModel& model,
                                            const at::Tensor& final_norm, const at::Tensor& x,
                                            const int32_t* tokens, int64_t sequences,
                                            int64_t length, const DenseRows* dense) {
  const at::Tensor ids =
      at::from_blob(const_cast<int32_t*>(tokens), {sequences, length}, at::kInt).to(at::kLong);
  const at::Tensor head = model.head;
  std::vector<LossSums> sums(sequences);
  for (int64_t s = 0; s < sequences; ++s) {
    const at::Tensor rows = x.narrow(0, s * length, length);
    for (int64_t first = 0; first + 1 < length; first += kVocabularyRows) {
      const int64_t count = std::min(kVocabularyRows, length - 1 - first);
      const at::Tensor input =
          RmsNorm(rows.narrow(0, first, count), final_norm, model.config.rms_norm_eps);
      const at::Tensor logits = Product(input.to(model.type), head.t());
      const at::Tensor targets = ids[s].narrow(0, first + 1, count).to(model.device);
      const at::Tensor log_sum = at::logsumexp(logits, -1);
      const at::Tensor nll = log_sum - logits.gather(1, targets.unsqueeze(1)).squeeze(1);
      sums[s].nll += nll.sum(at::kDouble).item<double>();
      if (dense == nullptr) continue;
      const int64_t row = s * length + first;
      const at::Tensor rounded = input.to(model.type).to(at::kFloat);
      const at::Tensor expected = (rounded * dense->expected.narrow(0, row, count)).sum(-1);
      const at::Tensor kl = log_sum - expected - dense->entropy.narrow(0, row, count);
      sums[s].kl += kl.sum(at::kDouble).item<double>();
    }
  }
  return sums;
}

}  // namespace

DenseRows TensorBackend::Predictions(const ResidentModel& model, const at::Tensor& x) {
  std::vector<at::Tensor> expected;
  std::vector<at::Tensor> entropy;
  for (int64_t first = 0; first < x.size(0); first += kVocabularyRows) {
    const DenseRows part =
        PredictRows(model, x.narrow(0, first, std::min(kVocabularyRows, x.size(0) - first)));
    expected.push_back(part.expected);
    entropy.push_back(part.entropy);
  }
  return {at::cat(expected), at::cat(entropy)};
}

std::unique_ptr<Backend> MakeTensorBackend() { return std::make_unique<TensorBackend>(); }

}  // namespace espalier
