#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>

#include "worker/engine/backend.h"

namespace espalier {
namespace {

// Frequencies as transformers computes them, in float32: theta^(−2i/h), and for Llama 3.1 and later
// long wavelengths divided by `factor`, short ones kept, those between interpolated.
float Frequency(const ModelConfig& config, int64_t pair) {
  const float exponent = static_cast<float>(2 * pair) / static_cast<float>(config.head_dim);
  const float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
  if (!config.rope_scaling.has_value()) return frequency;
  const Llama3RopeScaling& scaling = *config.rope_scaling;
  const double original = static_cast<double>(scaling.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double low = original / scaling.low_freq_factor;
  const double high = original / scaling.high_freq_factor;
  if (wavelength < high) return frequency;
  if (wavelength > low) return static_cast<float>(frequency / scaling.factor);
  const double smooth = (original / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return static_cast<float>((1 - smooth) * frequency / scaling.factor + smooth * frequency);
}

}  // namespace

RotaryTable MakeRotaryTable(const ModelConfig& config, int64_t length) {
  const int64_t pairs = config.pairs();
  RotaryTable table{at::empty({length, pairs}, at::kFloat), at::empty({length, pairs}, at::kFloat)};
  float* cos = table.cos.data_ptr<float>();
  float* sin = table.sin.data_ptr<float>();
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const float frequency = Frequency(config, pair);
    for (int64_t position = 0; position < length; ++position) {
      const float angle = static_cast<float>(position) * frequency;
      cos[position * pairs + pair] = std::cos(angle);
      sin[position * pairs + pair] = std::sin(angle);
    }
  }
  return table;
}

}  // namespace espalier
