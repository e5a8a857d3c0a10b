#include "common/plan/working_memory.h"

#include <algorithm>

#include "common/plan/model_cost.h"

namespace espalier {
namespace {

// As worker/engine has them (engine.cc, cpu_backend.cc, cpu_loss.cc, tensor_backend.cc).
constexpr int64_t kRowsPerBatch = 16384;
constexpr int64_t kRowsAtOnce = 4096;
constexpr int64_t kTileRows = 128;
constexpr int64_t kVocabularyChunk = 512;

constexpr int64_t kFloat = 4;
constexpr double kDouble = 8;

int64_t WholeSequences(int64_t rows, int64_t length) {
  return std::max<int64_t>(1, rows / length) * length;
}

// Rows and columns are rounded up to blocks of 64 in many places; an eighth covers it for all but
// the smallest models, whose bytes do not matter.
int64_t WithPadding(int64_t bytes) { return bytes + bytes / 8 + (int64_t{1} << 20); }

struct Widths {
  int64_t d;
  int64_t f;
  int64_t query;
  int64_t qkv;
};
Widths WidthsOf(const ModelConfig& config) {
  const int64_t query = config.num_heads * config.head_dim;
  return {config.hidden_size, config.intermediate_size, query,
          query + 2 * config.num_kv_heads * config.head_dim};
}

int64_t CpuActivations(const ModelConfig& config, int64_t length, int threads, bool observed) {
  const auto [d, f, query, qkv] = WidthsOf(config);
  const int64_t group = WholeSequences(kRowsAtOnce, length);
  const int64_t residual = WholeSequences(kRowsPerBatch, length) * d;
  const int64_t attention = group * (qkv + query) + length * config.head_dim;
  const int64_t inputs = observed ? group * (2 * d + query + f) : 0;
  const int64_t tile = kTileRows * (d + std::max(qkv, f + 2 * kTileRows)) + d;
  const int64_t chunks = config.vocab_size / kVocabularyChunk + 1;
  const int64_t loss = kRowsAtOnce * (d + 2 * chunks + 1);
  const int64_t loss_tile = kTileRows * kVocabularyChunk + d + kVocabularyChunk * d;
  return WithPadding((residual + attention + inputs + loss + threads * (tile + loss_tile)) *
                     kFloat);
}

// The largest sum of tensors that are alive together in TensorBackend: in the MLP, SiLU(gate), up
// and their product in float32 beside the rounded product; or around the attention.
int64_t GpuActivations(const ModelConfig& config, Precision precision, int64_t length) {
  const auto [d, f, query, qkv] = WidthsOf(config);
  const int64_t size = BytesOf(precision);
  const int64_t rows = WholeSequences(kRowsPerBatch, length);
  const int64_t always = d * (3 * kFloat + size);  // x, its norms, the rounded input
  const int64_t mlp = f * (4 * kFloat + size) + query * kFloat;
  const int64_t attention = 2 * qkv * (kFloat + size) + query * (kFloat + 2 * size);
  const int64_t logits = kVocabularyChunk * config.vocab_size * (2 * kFloat + size);
  return WithPadding(rows * (always + std::max(mlp, attention)) + logits);
}

// The most that `threads` linears at a time take when each layer has one of either size.
int64_t AtOnce(double one, double other, int64_t layers, int threads) {
  const double large = std::max(one, other);
  const double small = std::min(one, other);
  const auto first = std::min<int64_t>(layers, threads);
  const auto second = std::min<int64_t>(layers, threads - first);
  return static_cast<int64_t>(static_cast<double>(first) * large +
                              static_cast<double>(second) * small);
}

// Float64 values alive at once in ReformLinear for n inputs of which k stay.
double LinearWorkspace(double n, double d, double k, const ReformationSpec& spec) {
  if (spec.method == ReformationMethod::kAdmm) {
    return kDouble * (6 * n * n + 8 * n * d);  // damped, normalised, shifted, factor, inverse, H
  }
  const double gone = n - k;
  const double always = n * n + 2 * n * d + k * d + k * n;
  return kDouble * (always + std::max(3 * k * k, k * k + k * gone + gone * d + 2 * k * d));
}

}  // namespace

int64_t ScratchBytes(const ModelConfig& config, Precision precision) {
  return 2 * LayerBytes(config, precision);
}

int64_t ActivationBytes(const ModelConfig& config, Precision precision, const DeviceSpec& device,
                        int64_t length, bool observed) {
  // The tensor path makes the observed inputs whether anyone looks or not.
  return device.gpu ? GpuActivations(config, precision, length)
                    : CpuActivations(config, length, device.threads, observed);
}

int64_t ImportanceWorkspace(const ModelConfig& config, int threads) {
  // 2H in float32; as float64; damped; its factor. The inverse takes a place that was left.
  constexpr double kPerEntry = kFloat + 3 * kDouble;
  const auto n = [](int64_t size) { return static_cast<double>(size) * static_cast<double>(size); };
  const int64_t wide = std::max(config.hidden_size, config.num_heads * config.head_dim);
  return AtOnce(kPerEntry * n(config.intermediate_size), kPerEntry * n(wide), config.num_layers,
                threads);
}

int64_t ReformationWorkspace(const ModelConfig& config, double share, const ReformationSpec& spec,
                             int threads) {
  if (spec.method == ReformationMethod::kNone || share >= 1) return 0;
  const auto d = static_cast<double>(config.hidden_size);
  const auto workspace = [&](int64_t inputs) {
    const auto n = static_cast<double>(inputs);
    return LinearWorkspace(n, d, share * n, spec);
  };
  return AtOnce(workspace(config.num_heads * config.head_dim), workspace(config.intermediate_size),
                config.num_layers, threads);
}

}  // namespace espalier
