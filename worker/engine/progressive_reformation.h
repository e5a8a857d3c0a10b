// Progressive reformation (docs/method.md): module after module, fitted on what the modules before
// it really give, towards what the dense model has at that place. Internal to the engine.
//
// Per module, x the residual stream of the subnet so far and x̂ the dense model's, h and ĥ their
// normalised forms, y' and ŷ the module's outputs:
// - input map: its input weights see M h instead of h, M = I + (C − G)(G + λI)⁻¹ with G = Σ h hᵀ
// and
//   C = Σ ĥ hᵀ, the least-squares guess at ĥ;
// - output weights W' on the inner activations a: ridge regression of x̂ + ŷ − x on a, pulled
// towards
//   the repaired W: W'ᵀ = Wᵀ + (Σ w a aᵀ + λI)⁻¹ Σ w a (x̂ + ŷ − x − W a)ᵀ, w the row's weight.
#ifndef ESPALIER_WORKER_ENGINE_PROGRESSIVE_REFORMATION_H_
#define ESPALIER_WORKER_ENGINE_PROGRESSIVE_REFORMATION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {

// The residual streams of sequences of one length before a layer, of the dense model and of the
// subnet, [sequences · length, d] float32.
struct Streams {
  at::Tensor dense;
  at::Tensor reformed;
  int64_t length = 0;
  int64_t fitted_rows = 0;  // weights are fitted to the first ones, whole sequences
  double weight = 1;        // of a row's squared error in the fit of output weights
};

// At most 2,048 tokens of the first `fitted` ones, evenly spread, to be fitted as sequences of
// their own beside the text's: the first token of a sequence, whichever it is, becomes an attention
// sink (Xiao et al. 2024), and long sequences have few of them. common/plan/progressive_cost.cc
// counts them too.
std::vector<int32_t> SequenceStarts(const std::vector<int32_t>& tokens, int64_t fitted);

// `selections` of the stage's layers hold the repaired weights to begin with; leaves in `streams`,
// of one text or several, what the stage gives for all rows. May throw libtorch's exceptions.
absl::StatusOr<Reformation> ComputeProgressiveReformation(const ResidentModel& model,
                                                          std::vector<LayerSelection> selections,
                                                          const ReformationSpec& options,
                                                          Backend* backend, ThreadPool* pool,
                                                          const Control& control,
                                                          std::vector<Streams>* streams);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_PROGRESSIVE_REFORMATION_H_
