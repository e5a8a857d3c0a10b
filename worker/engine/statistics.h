// What calibration yields, and what is computed from it. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_STATISTICS_H_
#define ESPALIER_WORKER_ENGINE_STATISTICS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/backend.h"
#include "worker/engine/control.h"
#include "worker/engine/engine.h"
#include "worker/engine/repair_cache.h"
#include "worker/engine/resident_model.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// Gram matrices H = Σ x xᵀ of one layer's inputs, float32, in host memory: a device has no room for
// all of them beside the weights, and gets each when it is needed. The sums run over the
// calibration's positions.
struct LayerGrams {
  at::Tensor qkv;      // [d, d]
  at::Tensor o;        // [H·h, H·h]
  at::Tensor gate_up;  // [d, d]
  at::Tensor down;     // [f, f]
  // Σ x, float64.
  at::Tensor o_sum{};     // [H·h]
  at::Tensor down_sum{};  // [f]
  double o_energy = 0;    // OutputEnergy of o and down
  double down_energy = 0;
};

class Calibration {
 public:
  std::vector<LayerGrams> layers;
  int64_t positions = 0;  // tokens that the sums are over
  // Of each layer [T', d] float32: the inputs of q, k and v at the first positions of the first
  // sequence, for PairEffects.
  std::vector<at::Tensor> first_inputs;
  // On the last stage [n, d] float32: what the last layer gives at some positions, evenly spread,
  // for HeadMetric.
  at::Tensor outputs;
  // PatternGrams of each layer, undefined until a repair needs them. One call at a time, as the
  // engine.
  mutable std::vector<at::Tensor> patterns;
  // Modules that were repaired with these Gram matrices.
  mutable RepairCache repairs;
};

class Predictions {
 public:
  DenseRows rows;  // of all sequences, one after another; undefined on stages that have no head
  int64_t sequences = 0;
  int64_t length = 0;
};

class ReformedWeights {
 public:
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;  // [d] float32, of the last stage; undefined: the model's
  bool biases = false;    // the reformation gives some
};

// INVALID_ARGUMENT when a Gram matrix has a value that is not finite, saying what to do.
absl::Status CheckFinite(const at::Tensor& gram);

// The factor of a symmetric positive definite matrix. `damping` is what had to be added to its
// diagonal, as a multiple of mean(diag), to make it one: at least what was asked for.
struct Cholesky {
  at::Tensor lower;
  double damping = 0;
};
// L with L·Lᵀ = matrix + damping · mean(diag) · I, float64. Damping grows tenfold until the factor
// exists, and `warn` is told of it; the matrix's device computes. INVALID_ARGUMENT when it has a
// value that is not finite.
absl::StatusOr<Cholesky> DampedCholesky(const at::Tensor& matrix, double damping,
                                        const Warner& warn = nullptr);

// `body` for the attention and the MLP of every layer of the stage, several at a time; what goes
// wrong first in their order is the error, with the module's name.
absl::Status ForModules(
    const ResidentModel& model, ThreadPool* pool, const Control& control,
    const std::function<absl::Status(int64_t layer, bool mlp, const Warner& warn)>& body);

// See Engine::Importance, Engine::BaselineScores and Engine::Reform. May throw libtorch's
// exceptions.
absl::StatusOr<UnitScores> ComputeImportance(const ResidentModel& model,
                                             const Calibration& calibration, double damping,
                                             ThreadPool* pool, const Control& control);
absl::StatusOr<UnitScores> ComputeBaselineScores(const ResidentModel& model,
                                                 const Calibration& calibration, ScoreKind kind,
                                                 ThreadPool* pool, const Control& control);
absl::StatusOr<Ranking> ComputeRanking(const ResidentModel& model, const Calibration& calibration,
                                       const CutSteps& steps, ThreadPool* pool,
                                       const Control& control);
absl::StatusOr<Reformation> ComputeReformation(const ResidentModel& model,
                                               const Calibration& calibration, const Subnet& subnet,
                                               const ReformationSpec& options, ThreadPool* pool,
                                               const Control& control);

// One linear with weights W [out, in], given and returned transposed ([in, out] float32): new
// weights on the inputs `kept`, [kept, out]. H is its Gram matrix [in, in], `energy` the
// OutputEnergy of both. Both lie on one device, which computes and where the result is. The error
// is relative (ReformationError). Neither method's result is worse than the inherited weights:
// where it would be, those are returned.
struct ReformedLinear {
  at::Tensor weights;
  double before = 0;
  double after = 0;
};
absl::StatusOr<ReformedLinear> ReformLinear(const at::Tensor& weights, const at::Tensor& gram,
                                            const std::vector<int64_t>& kept,
                                            const ReformationSpec& options, double energy,
                                            const Warner& warn = nullptr,
                                            const Control& control = {});

// FLAP's compensation of a linear for the inputs that go (An et al., AAAI 2024, section 3.3): the
// bias b = Σ_j W_:,j x̄_j over them, [out] float32, as `weights`; it stands for their contribution
// by its mean. `sum` is Σ x [in] over `positions`; the rest as for ReformLinear. The error falls by
// positions · ‖b‖².
ReformedLinear CompensatingBias(const at::Tensor& weights, const at::Tensor& gram,
                                const at::Tensor& sum, int64_t positions,
                                const std::vector<int64_t>& kept, double energy);

// ‖W X‖² = tr(W H Wᵀ) of a linear, W given transposed.
double OutputEnergy(const at::Tensor& weights_transposed, const at::Tensor& gram);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_STATISTICS_H_
