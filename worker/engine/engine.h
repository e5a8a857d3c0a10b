// The engine: one resident model on one device, and everything that is computed with it.
//
// A model that no device can hold is divided into stages (common/stage.h), each with an engine of
// its own. Evaluate and Calibrate are then called on all of them with the same sequences, and the
// activations go from each to the next; everything else a stage does by itself, for its own layers.
// Layers are counted from the stage's first one, except where errors name them.
//
// This header shows no libtorch; nothing above worker/engine includes any. No exception leaves the
// engine: libtorch's become statuses, out of memory RESOURCE_EXHAUSTED with the sizes.
#ifndef ESPALIER_WORKER_ENGINE_ENGINE_H_
#define ESPALIER_WORKER_ENGINE_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/ranking.h"
#include "common/safetensors.h"
#include "common/stage.h"
#include "common/subnet.h"
#include "common/text.h"
#include "worker/transport/transport.h"

namespace espalier {

struct EngineOptions {
  std::string device = "cpu";  // "cpu" or "cuda:N"
  Precision precision = Precision::kFloat32;
  int threads = 0;  // of the CPU path; 0 = all cores. Results do not depend on it.
  std::optional<StageRange> stage{};  // unset: the whole model
  // Folder for repaired modules that memory has no room for; empty: they are made again.
  std::string scratch{};
};

// How a caller follows and stops a long call. All members may be empty.
struct Control {
  std::function<void(double fraction)> progress{};  // called from the calling thread
  const std::atomic<bool>* cancelled = nullptr;     // polled; the call returns CANCELLED
  // What is right to go on with and good to know; from any thread, also several at a time.
  std::function<void(const std::string& text)> warn{};
};

// The way to the stages before and after this one. Null for a whole model, which has none.
struct Pipeline {
  Transport* transport = nullptr;
  uint64_t task = 0;  // tags the messages
  int64_t first = 0;  // of the messages' indices

  // For the n-th of several calls of one task: later messages must have greater indices.
  Pipeline Call(int64_t n) const { return {transport, task, n << 32}; }
};

// Sums over the T − 1 predictions of one sequence: −ln p, and the divergence of the subnet's
// predictions from the dense model's, KL(dense ‖ subnet), where it was asked for.
struct SequenceLoss {
  double nll_sum = 0;
  int64_t predictions = 0;
  double kl_sum = 0;
};

// exp of the mean over sequences of the mean NLL. Requires a non-empty vector.
double Perplexity(const std::vector<SequenceLoss>& losses);

struct EngineMemory {
  int64_t weights = 0;  // bytes resident
  int64_t scratch = 0;  // gathered layers, at their largest so far
  int64_t peak_activations = 0;
};

// Statistics of the dense model on calibration text, per layer the Gram matrices H = Σ x xᵀ
// (float32) of the inputs of q/k/v [d, d], o [H·h, H·h], gate/up [d, d] and down [f, f]. Opaque;
// lives on the engine's device or in host memory. Shared; keeps modules that Reform has repaired.
class Calibration;

// The dense model's predictions on some sequences; empty on stages other than the last. Opaque,
// immutable, shared.
class Predictions;

// New weights of a subnet, on its kept units. Opaque, immutable, shared.
class ReformedWeights;

// What an evaluation may use and measure beside the masks. Both may be null.
struct EvaluationOptions {
  const ReformedWeights* reformed = nullptr;  // instead of the inherited weights
  const Predictions* dense = nullptr;         // measure the divergence from these too
  int64_t first = 0;  // the first evaluated sequence's place among those of `dense`
};

// What reformation did to one linear, on the calibration data. Reform: ‖W X − W' X_S‖² / ‖W X‖²
// with the inherited and with the new weights, `after` never above `before`. ReformProgressively:
// the same towards its own target, with the repaired and with the new weights.
struct ReformationError {
  int64_t layer = 0;  // of the whole model
  bool mlp = false;   // false: o, true: down
  double before = 0;
  double after = 0;
};

struct Reformation {
  std::shared_ptr<const ReformedWeights> weights;
  std::vector<ReformationError> errors;  // of the linears whose inputs were cut
};

// Receives a file's bytes from front to back.
using ByteSink = std::function<absl::Status(std::string_view bytes)>;

// Not thread-safe: one call at a time (Control::cancelled may be set from any thread).
class Engine {
 public:
  // Loads an HF folder or a compact folder, or one stage of it: reads no other tensors. Errors name
  // the file or tensor and what to do.
  static absl::StatusOr<std::unique_ptr<Engine>> Load(const std::filesystem::path& model,
                                                      const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;  // the dense model's dimensions
  virtual StageRange stage() const = 0;
  virtual const Subnet& resident() const = 0;  // the stage's: dense, or the compact folder's masks
  virtual EngineMemory memory() const = 0;

  // Loss of a subnet on every sequence; none on stages other than the last one. `subnet` must be
  // the resident one when the model is compact. INVALID_ARGUMENT for a wrong shape or a token id
  // outside the vocabulary.
  virtual absl::StatusOr<std::vector<SequenceLoss>> Evaluate(const Subnet& subnet,
                                                             const TokenSequences& sequences,
                                                             const EvaluationOptions& options = {},
                                                             const Control& control = {},
                                                             const Pipeline& pipeline = {}) = 0;

  // Runs the dense model and keeps what Evaluate needs to compare with its predictions: d floats a
  // token. Only for dense models.
  virtual absl::StatusOr<std::shared_ptr<const Predictions>> Predict(
      const TokenSequences& sequences, const Control& control = {},
      const Pipeline& pipeline = {}) = 0;

  // Runs the dense model over `sequences` and accumulates the Gram matrices. Only for dense models.
  virtual absl::StatusOr<std::shared_ptr<const Calibration>> Calibrate(
      const TokenSequences& sequences, const Control& control = {},
      const Pipeline& pipeline = {}) = 0;

  // Unit scores (docs/method.md, "Importance"): Φ_ij = W_ij² / [(2H + λI)⁻¹]_jj with
  // λ = damping · mean(diag 2H), summed over the rows of q, k, v and the columns of o of a pair,
  // and over the rows of gate and up and the column of down of a channel.
  virtual absl::StatusOr<UnitScores> Importance(const Calibration& calibration, double damping,
                                                const Control& control = {}) = 0;

  // Unit scores of a baseline (docs/method.md, "Baselines"); `kind` is another than kImportance.
  // With W the weights of o or down, transposed, and X their inputs over the calibration text:
  //   kMagnitude    Σ w² over all weights of the unit, the linears before o and down among them
  //   kWanda        Σ_j ‖X_j‖₂ · Σ_i |W_ij| over the unit's inputs j
  //   kFluctuation  Σ_j s_j / σ, with s_j = Var(X_j) · ‖W_:,j‖², of attention the square of that,
  //   and
  //                 σ the standard deviation of s over all inputs of the linear
  // INVALID_ARGUMENT when activations are not finite.
  virtual absl::StatusOr<UnitScores> BaselineScores(const Calibration& calibration, ScoreKind kind,
                                                    const Control& control = {}) = 0;

  // Orders in which units can go, with the errors of the cuts (docs/method.md, "Ranking").
  virtual absl::StatusOr<Ranking> Rank(const Calibration& calibration, const CutSteps& steps,
                                       const Control& control = {}) = 0;

  // New o and down weights for `subnet` (docs/method.md, "Reformation"): closed form
  // W' = W H_{:,S} (H_{S,S} + λI)⁻¹, or the paper's ADMM on the same objective; of kProjected, new
  // q and v weights too, and that closed form on what they give; or, of kBias, the biases b = W_:,P
  // x̄_P beside the inherited weights ("Baselines"). Each depends on its own module's mask only, and
  // is kept with the calibration for other subnets that share it.
  virtual absl::StatusOr<Reformation> Reform(const Calibration& calibration, const Subnet& subnet,
                                             const ReformationSpec& options,
                                             const Control& control = {}) = 0;

  // New weights for all linears of `subnet`, module after module, each fitted on what the modules
  // before it really give (docs/method.md, "Progressive reformation"), and on the last stage those
  // of the final norm, fitted to the last sixteenth of the sequences, which nothing else of it is
  // fitted to. `sequences` should be those of the calibration; tokens of theirs are fitted on their
  // own too, and all activations are held twice. All stages call it together.
  virtual absl::StatusOr<Reformation> ReformProgressively(const Calibration& calibration,
                                                          const Subnet& subnet,
                                                          const ReformationSpec& options,
                                                          const TokenSequences& sequences,
                                                          const Control& control = {},
                                                          const Pipeline& pipeline = {}) = 0;

  // Whether all stages say yes: the same answer on each of them.
  virtual absl::StatusOr<bool> AllStages(bool yes, const Control& control = {},
                                         const Pipeline& pipeline = {}) = 0;

  // The bytes of the stage's tensors of the compact model (StageTensors), in their order. `subnet`
  // is the whole model's: what the stages write, one after another, follows the safetensors header.
  // Those of ReformedConfig, with biases when `reformed` was made by kBias.
  virtual absl::Status ExportCompact(const Subnet& subnet, const ReformedWeights* reformed,
                                     DType dtype, const ByteSink& sink,
                                     const Control& control = {}) = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_ENGINE_H_
