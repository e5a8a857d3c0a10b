#include "common/plan/model_cost.h"

#include <algorithm>

#include "common/subnet.h"

namespace espalier {
namespace {

constexpr int64_t kFloat32Bytes = 4;

double Square(double n) { return n * n; }
double Cube(double n) { return n * n * n; }

// A linear [d, n] of whose n inputs `kept` stay. The terms are reformation.cc's products: what the
// inputs that go gave, the error afterwards, then the method's own.
double LinearReformationFlops(double n, double d, double kept, const ReformationSpec& spec) {
  if (spec.method != ReformationMethod::kAdmm) return RepairFlops(n, d, kept);
  const double errors = 2 * n * (n - kept) * d + 2 * Square(kept) * d;
  const double inverse = Cube(n);
  const auto products = static_cast<double>(spec.iterations + 1);
  return errors + inverse + products * 2 * Square(n) * d;
}

}  // namespace

int64_t QueryWidth(const ModelConfig& config) { return config.num_heads * config.head_dim; }

int64_t BytesOf(Precision precision) { return precision == Precision::kFloat32 ? 4 : 2; }

int64_t AttentionParameters(const ModelConfig& config) {
  return ParametersPerPair(config) * config.pairs() * config.num_kv_heads;
}

int64_t MlpParameters(const ModelConfig& config) {
  return ParametersPerChannel(config) * config.intermediate_size;
}

double UniformShare(const ModelConfig& config, double ratio) {
  const auto dense = static_cast<double>(DenseParameters(config));
  const auto blocks =
      static_cast<double>(config.num_layers * (AttentionParameters(config) + MlpParameters(config) +
                                               2 * config.hidden_size));
  return std::clamp((ratio * dense - (dense - blocks)) / blocks, 0.0, 1.0);
}

int64_t LayerBytes(const ModelConfig& config, Precision precision) {
  return (AttentionParameters(config) + MlpParameters(config)) * BytesOf(precision) +
         2 * config.hidden_size * kFloat32Bytes;
}

int64_t EmbeddingBytes(const ModelConfig& config, Precision precision) {
  return config.vocab_size * config.hidden_size * BytesOf(precision);
}

int64_t FinalNormBytes(const ModelConfig& config) { return config.hidden_size * kFloat32Bytes; }

int64_t LayerGramBytes(const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  const int64_t f = config.intermediate_size;
  const int64_t wide = QueryWidth(config);
  return (2 * d * d + wide * wide + f * f) * kFloat32Bytes;
}

int64_t LayerReformedBytes(const ModelConfig& config, double share) {
  const double dense = static_cast<double>(config.hidden_size) *
                       static_cast<double>(QueryWidth(config) + config.intermediate_size);
  return static_cast<int64_t>(share * dense) * kFloat32Bytes;
}

int64_t LayerRepairedBytes(const ModelConfig& config, double share, Precision precision) {
  const int64_t rows =
      QueryWidth(config) + config.intermediate_size + config.num_kv_heads * config.head_dim;
  return static_cast<int64_t>(share * static_cast<double>(rows * config.hidden_size)) *
         BytesOf(precision);
}

int64_t LayerInPlaceBytes(const ModelConfig& config, double share, Precision precision) {
  const int64_t queries = QueryWidth(config) * config.hidden_size;
  return static_cast<int64_t>(share * static_cast<double>(queries)) * BytesOf(precision);
}

int64_t LayerProgressiveBytes(const ModelConfig& config, double share, Precision precision) {
  const int64_t d = config.hidden_size;
  const int64_t outputs = d * (QueryWidth(config) + config.intermediate_size);
  const int64_t inputs = AttentionParameters(config) + MlpParameters(config) - outputs;
  return static_cast<int64_t>(share * static_cast<double>(inputs)) * BytesOf(precision) +
         LayerReformedBytes(config, share);
}

double AttentionFlops(const ModelConfig& config, int64_t length, double share) {
  const auto tokens = static_cast<double>(length);
  // Each query meets itself and what stands before it, once in Q Kᵀ and once in P V.
  const double meetings = tokens * (tokens + 1) / 2;
  return share * (2 * tokens * static_cast<double>(AttentionParameters(config)) +
                  2 * 2 * meetings * static_cast<double>(QueryWidth(config)));
}

double MlpFlops(const ModelConfig& config, int64_t length, double share) {
  return share * 2 * static_cast<double>(length) * static_cast<double>(MlpParameters(config));
}

double LayerFlops(const ModelConfig& config, int64_t length, double share) {
  return AttentionFlops(config, length, share) + MlpFlops(config, length, share);
}

double HeadFlops(const ModelConfig& config, int64_t length) {
  return 2.0 * static_cast<double>(length) *
         static_cast<double>(config.vocab_size * config.hidden_size);
}

double LayerGramFlops(const ModelConfig& config, int64_t rows, bool full) {
  const auto d = static_cast<double>(config.hidden_size);
  const double entries = 2 * Square(d) + Square(static_cast<double>(QueryWidth(config))) +
                         Square(static_cast<double>(config.intermediate_size));
  return (full ? 2.0 : 1.0) * entries * static_cast<double>(rows);
}

double LayerImportanceFlops(const ModelConfig& config) {
  // n³/3 for the factor, 2n³/3 for the inverse.
  return 2 * Cube(static_cast<double>(config.hidden_size)) +
         Cube(static_cast<double>(QueryWidth(config))) +
         Cube(static_cast<double>(config.intermediate_size));
}

double RepairFlops(double inputs, double outputs, double kept) {
  const double errors = 2 * inputs * (inputs - kept) * outputs + 2 * Square(kept) * outputs;
  return errors + Cube(kept) / 3 + 2 * Square(kept) * outputs;
}

double ValueBasesFlops(const ModelConfig& config) {
  const auto n = static_cast<double>(QueryWidth(config));
  const auto values = static_cast<double>(config.num_kv_heads * config.head_dim);
  const auto h = static_cast<double>(config.head_dim);
  const auto d = static_cast<double>(config.hidden_size);
  // What o does with each direction, then o, both sides of its Gram matrix, and v in the basis.
  return 2 * h * (2 * n * d + 2 * n * n + values * d);
}

double LayerReformationFlops(const ModelConfig& config, double share, const ReformationSpec& spec) {
  if (spec.method == ReformationMethod::kNone || share >= 1) return 0;
  const auto d = static_cast<double>(config.hidden_size);
  double total = 0;
  for (const int64_t inputs : {QueryWidth(config), config.intermediate_size}) {
    const auto n = static_cast<double>(inputs);
    total += LinearReformationFlops(n, d, share * n, spec);
  }
  return spec.method == ReformationMethod::kProjected ? total + ValueBasesFlops(config) : total;
}

}  // namespace espalier
