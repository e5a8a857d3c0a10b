// Greedy elimination of a linear's inputs (Frantar & Alistarh 2022, "Optimal Brain Compression";
// Kurtic et al. 2023, ZipLM): always the block whose removal, with all other weights adjusted for
// it, changes the output least. Internal to the engine.
//
// With H the damped Gram matrix, removing the inputs C costs tr(W_C [(H⁻¹)_CC]⁻¹ W_Cᵀ); then
// W ← W − W_C [(H⁻¹)_CC]⁻¹ (H⁻¹)_C,: and likewise H⁻¹ itself. Weights are transposed: [in, out].
// Weights and Gram matrices lie on one device, which computes. CANCELLED when the caller asked to
// stop.
#ifndef ESPALIER_WORKER_ENGINE_ELIMINATION_H_
#define ESPALIER_WORKER_ENGINE_ELIMINATION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model_config.h"
#include "common/ranking.h"
#include "worker/engine/control.h"
#include "worker/engine/statistics.h"

namespace espalier {

// Fills channels and channel_errors of `ranking`. May throw libtorch's exceptions.
absl::Status EliminateChannels(const at::Tensor& down_transposed, const at::Tensor& gram,
                               const CutSteps& steps, const Control& control, const Warner& warn,
                               LayerRanking* ranking);

// Fills the attention cuts: for several numbers of whole groups that go, greedily, the pairs of the
// others thinned to every size, all groups alike, and with each pair the last two directions of the
// group's values in `bases` (value_bases.h). `effects` as PairEffects: an error is the sum of those
// of the pairs that go and of the adjusted o's. May throw libtorch's exceptions.
absl::Status EliminateAttention(const at::Tensor& o_transposed, const at::Tensor& gram,
                                const at::Tensor& bases, const at::Tensor& effects,
                                const ModelConfig& config, const CutSteps& steps,
                                const Control& control, const Warner& warn, LayerRanking* ranking);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_ELIMINATION_H_
