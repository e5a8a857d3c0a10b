#include "common/plan/working_memory.h"

#include <algorithm>

#include "common/plan/model_cost.h"
#include "common/plan/progressive_cost.h"

namespace espalier {
namespace {

// As worker/engine has them (stage_runner.cc, cpu_backend.cc, cpu_loss.cc, tensor_backend.cc,
// predict_rows.cc).
constexpr int64_t kQueriesAtOnce = 32;  // of attention_effects.cc
constexpr int64_t kRowsPerBatch = 16384;
constexpr int64_t kPredictionChunk = 4096;
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

double Square(double n) { return n * n; }

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

int64_t CpuActivations(const ModelConfig& config, Precision precision, int64_t length, int threads,
                       bool observed) {
  const auto [d, f, query, qkv] = WidthsOf(config);
  const int64_t group = WholeSequences(kRowsAtOnce, length);
  const int64_t residual = WholeSequences(kRowsPerBatch, length) * d;
  const int64_t attention = group * (qkv + query) + length * config.head_dim;
  // A Gram matrix of bfloat16 inputs is made from two copies of them; where the processor does not
  // multiply in bfloat16, they are float32.
  const int64_t inputs_in = 2 * d + query + f;
  const int64_t with_copies =
      precision == Precision::kBFloat16 ? 2 * (inputs_in + 2 * std::max(query, f)) : 0;
  const int64_t inputs = observed ? group * std::max(kFloat * inputs_in, with_copies) : 0;
  const int64_t tile = kTileRows * (d + std::max(qkv, f + 2 * kTileRows)) + d;
  const int64_t chunks = config.vocab_size / kVocabularyChunk + 1;
  const int64_t loss = kRowsAtOnce * (d + 2 * chunks + 2);
  const int64_t loss_tile = kTileRows * kVocabularyChunk + d + kVocabularyChunk * d;
  return WithPadding((residual + attention + loss + threads * (tile + loss_tile)) * kFloat +
                     inputs);
}

// The largest sum of tensors that are alive together in TensorBackend: in the MLP, SiLU(gate), up
// and their product in float32 beside the rounded product; or around the attention.
int64_t GpuActivations(const ModelConfig& config, Precision precision, int64_t length) {
  const auto [d, f, query, qkv] = WidthsOf(config);
  const int64_t size = BytesOf(precision);
  const int64_t rows = WholeSequences(kRowsPerBatch, length);
  const int64_t always = d * (3 * kFloat + size);  // x, its norms, the rounded input
  const int64_t mlp = f * (4 * kFloat + size) + query * size;
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

// A GPU gets Gram matrices from the host; a CPU has them where they are.
double GramCopy(const DeviceSpec& device, double n) { return device.gpu ? kFloat * n * n : 0; }

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
                    : CpuActivations(config, precision, length, device.threads, observed);
}

int64_t GramWorkspace(const ModelConfig& config, Precision precision, const DeviceSpec& device) {
  if (!device.gpu || precision == Precision::kFloat32) return 0;
  const int64_t n = std::max(config.intermediate_size, QueryWidth(config));
  return kFloat * n * n;
}

int64_t ImportanceWorkspace(const ModelConfig& config, const DeviceSpec& device) {
  // 2H in float32; as float64; damped; its factor. The inverse takes a place that was left.
  const double per_entry = GramCopy(device, 1) + kFloat + 3 * kDouble;
  const auto bytes = [&](int64_t n) { return per_entry * Square(static_cast<double>(n)); };
  const int64_t wide = std::max(config.hidden_size, QueryWidth(config));
  return AtOnce(bytes(config.intermediate_size), bytes(wide), config.num_layers, device.threads);
}

int64_t EliminationWorkspace(const ModelConfig& config, const DeviceSpec& device) {
  const auto d = static_cast<double>(config.hidden_size);
  // As float64 the matrix, damped, its factor; beside them the weights, a copy, their output.
  const auto factorising = [&](double n) {
    return GramCopy(device, n) + 3 * kDouble * n * n + 3 * kFloat * n * d;
  };
  const auto f = static_cast<double>(config.intermediate_size);
  const auto wide = static_cast<double>(QueryWidth(config));
  // Weights and inverse, before pairs go and while; the weights of all pairs, solved, multiplied.
  const double thinning = GramCopy(device, wide) + 2 * kFloat * wide * wide + 7 * kFloat * wide * d;
  return AtOnce(std::max(factorising(wide), thinning), factorising(f), config.num_layers,
                device.threads);
}

int64_t EffectWorkspace(const ModelConfig& config, int64_t positions, int threads) {
  const auto [d, f, query, qkv] = WidthsOf(config);
  const int64_t r = config.queries_per_group();
  const int64_t group = r * config.head_dim;
  const int64_t meetings = positions * positions;
  const int64_t always = config.num_heads * meetings + meetings +
                         positions * (d + 3 * qkv + query + (config.num_kv_heads + 1) * d) +
                         (qkv + query) * d + config.num_kv_heads * group * group;
  // A pair's logits and outputs; or a block's parts of the logits, less their mean, weighted.
  const int64_t of_thread = std::max(2 * r * meetings + 5 * positions * group,
                                     4 * kQueriesAtOnce * positions * config.pairs());
  return WithPadding((always + threads * of_thread) * kFloat);
}

int64_t PredictionWorkspace(const ModelConfig& config, const DeviceSpec& device) {
  const int64_t rows = device.gpu ? kVocabularyChunk : device.threads * kTileRows;
  const int64_t chunk = std::min(kPredictionChunk, config.vocab_size);
  // Probabilities and one more while they are summed; normalised rows; a chunk of the head.
  const int64_t row = 2 * config.vocab_size + chunk + 5 * config.hidden_size;
  const int64_t heads = device.gpu ? 1 : device.threads;
  return WithPadding((rows * row + heads * chunk * config.hidden_size) * kFloat);
}

int64_t HeadMetricWorkspace(const ModelConfig& config, const DeviceSpec& device) {
  // Of a tile of rows as predictions take it; the sums of all tiles; outputs and three of [d, d].
  constexpr int64_t kMostOutputs = 4096;
  const int64_t d = config.hidden_size;
  const int64_t sums = kMostOutputs / kTileRows * config.vocab_size + kMostOutputs * 5 * d;
  return PredictionWorkspace(config, device) + WithPadding((sums + 3 * d * d) * kFloat);
}

int64_t PredictionBytes(const ModelConfig& config, const JobSpec& spec) {
  return spec.search_sequences() * spec.search_sequence_length() * (config.hidden_size + 1) *
         kFloat;
}

int64_t ReformationWorkspace(const ModelConfig& config, double share, const ReformationSpec& spec,
                             const DeviceSpec& device) {
  if (spec.method == ReformationMethod::kNone || share >= 1) return 0;
  const auto d = static_cast<double>(config.hidden_size);
  const auto workspace = [&](int64_t inputs) {
    const auto n = static_cast<double>(inputs);
    return GramCopy(device, n) + LinearWorkspace(n, d, share * n, spec);
  };
  return AtOnce(workspace(config.num_heads * config.head_dim), workspace(config.intermediate_size),
                config.num_layers, device.threads);
}

int64_t StreamBytes(const ModelConfig& config, const JobSpec& spec) {
  const int64_t tokens = spec.calibration_sequences * spec.sequence_length;
  const int64_t starts = ProgressiveStarts(spec.calibration_sequences, spec.sequence_length);
  return 2 * (tokens + starts) * config.hidden_size * kFloat;
}

int64_t ProgressiveWorkspace(const ModelConfig& config, double share, const JobSpec& spec,
                             const DeviceSpec& device) {
  const auto d = static_cast<double>(config.hidden_size);
  const double k =
      share * static_cast<double>(std::max(QueryWidth(config), config.intermediate_size));
  const int64_t tokens = spec.calibration_sequences * spec.sequence_length;
  const auto batch =
      static_cast<double>(std::min(tokens, WholeSequences(kRowsPerBatch, spec.sequence_length)));
  const bool narrow = spec.precision == Precision::kBFloat16;
  // As float64 the matrix, damped, its factor; then the factor, a copy, the right side, a solution.
  const auto solving = [d](double n) {
    return std::max(3 * kDouble * n * n, 2 * kDouble * n * (n + d) + kFloat * n * d);
  };
  // The normalised rows of both streams; in bfloat16 also their difference, before it is rounded.
  // Two Gram matrices and the change; the kept rows of gate or up before and after.
  const double mapping =
      std::max((narrow ? 10 : 8) * batch * d, solving(d)) + kFloat * (3 * d * d + 3 * k * d);
  // What a CPU keeps of a module until its output weights are known, in float32 where it does not
  // multiply in bfloat16; the target and its squares.
  const auto fitted = static_cast<double>(
      tokens + ProgressiveStarts(spec.calibration_sequences, spec.sequence_length));
  const bool half = narrow && device.multiplies_bfloat16;
  const double inner = device.gpu ? 0 : fitted * k * (half ? 2 : kFloat);
  const double fitting =
      inner + std::max(2 * kFloat * batch * d, solving(k)) + kFloat * (k * k + 4 * k * d);
  // For products in bfloat16: on a CPU copies of some rows of either side; elsewhere the product,
  // before it is added.
  const auto group =
      static_cast<double>(std::min(tokens, WholeSequences(kRowsAtOnce, spec.sequence_length)));
  const double widest = std::max(k, d);
  const double products = !narrow ? 0 : widest * (device.gpu ? widest : group);
  return static_cast<int64_t>(std::max(mapping, fitting) + kFloat * products);
}

}  // namespace espalier
