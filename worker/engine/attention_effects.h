// What each rotary pair does for the attention's pattern. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_
#define ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/engine/resident_model.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// Leave one out: with a_g the outputs of KV group g's heads and a_g^{−p} those without pair p's
// part of the logits q·k (values stay), ‖O_g (a_g − a_g^{−p})‖² / ‖Σ_g O_g a_g‖² over the positions
// of one sequence. [G, h/2] float64 on the CPU. O is given as [H·h, outputs] float32. `inputs` [T,
// d] float32 is the normalised input of q, k and v at positions 0 … T − 1; costs O(T²) for every
// pair of every query head. May throw.
at::Tensor PairEffects(const ResidentModel& model, int64_t layer, const at::Tensor& o_transposed,
                       const at::Tensor& inputs, ThreadPool* pool);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_
