#include "worker/engine/statistics_collector.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>

namespace espalier {
namespace {

// Positions of the first sequence on which pairs are left out, one at a time.
constexpr int64_t kEffectPositions = 512;
// At least so many outputs are kept, and fewer than twice as many.
constexpr int64_t kOutputs = 2048;

}  // namespace

StatisticsCollector::StatisticsCollector(const ResidentModel& model, Backend* backend,
                                         int64_t sequences, int64_t length,
                                         Calibration* calibration)
    : model_(model),
      backend_(backend),
      length_(length),
      stride_(std::max<int64_t>(1, sequences * length / kOutputs)),
      calibration_(calibration) {
  calibration->positions = sequences * length;
  const ModelConfig& config = model.config;
  const int64_t wide = config.num_heads * config.head_dim;
  const int64_t d = config.hidden_size;
  const int64_t f = config.intermediate_size;
  const auto square = [&](int64_t n) {
    return at::zeros({n, n}, at::TensorOptions().dtype(at::kFloat).device(model.device));
  };
  const auto zeros = [&](int64_t n) {
    return at::zeros({n}, at::TensorOptions().dtype(at::kDouble).device(model.device));
  };
  for (int64_t i = 0; i < config.num_layers; ++i) {
    calibration->layers.push_back(
        {square(d), square(wide), square(d), square(f), zeros(wide), zeros(f)});
  }
  calibration->first_inputs.resize(config.num_layers);
}

LayerObserver StatisticsCollector::Observer(int64_t layer) {
  LayerGrams* grams = &calibration_->layers[layer];
  at::Tensor* first = &calibration_->first_inputs[layer];
  return [this, grams, first](const LayerInputs& inputs) {
    if (!first->defined()) {
      const int64_t rows = std::min(kEffectPositions, length_);
      *first = inputs.qkv.narrow(0, 0, rows).to(at::kCPU, at::kFloat, false, /*copy=*/true);
    }
    backend_->AccumulateGram(inputs.qkv, &grams->qkv);
    backend_->AccumulateGram(inputs.o, &grams->o);
    backend_->AccumulateGram(inputs.gate_up, &grams->gate_up);
    backend_->AccumulateGram(inputs.down, &grams->down);
    grams->o_sum += inputs.o.sum(0, /*keepdim=*/false, at::kDouble);
    grams->down_sum += inputs.down.sum(0, /*keepdim=*/false, at::kDouble);
  };
}

void StatisticsCollector::Outputs(const at::Tensor& x, int64_t first) {
  // Of every `stride_` positions the middle one.
  const int64_t middle = stride_ / 2;
  const int64_t start = (middle - first % stride_ + stride_) % stride_;
  if (start < x.size(0)) {
    outputs_.push_back(x.slice(0, start, x.size(0), stride_).to(at::kCPU, at::kFloat, false, true));
  }
}

void StatisticsCollector::Finish() {
  if (!outputs_.empty()) calibration_->outputs = at::cat(outputs_);
  for (int64_t i = 0; i < model_.config.num_layers; ++i) {
    LayerGrams& grams = calibration_->layers[i];
    const std::array<at::Tensor*, 4> all = {&grams.qkv, &grams.o, &grams.gate_up, &grams.down};
    for (at::Tensor* gram : all) backend_->FinishGram(gram);
    const ResidentLayer& layer = model_.layers[i];
    grams.o_energy = OutputEnergy(layer.o_transposed.to(at::kFloat), grams.o);
    grams.down_energy = OutputEnergy(layer.down_transposed.to(at::kFloat), grams.down);
    for (at::Tensor* gram : all) *gram = gram->to(at::kCPU);
    for (at::Tensor* sum : {&grams.o_sum, &grams.down_sum}) *sum = sum->to(at::kCPU);
  }
}

}  // namespace espalier
