// What each rotary pair does for the attention's pattern. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_
#define ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

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

// How the pairs of each query head act together: with c_p the part of pair p in the logits of
// query t, and P_t the head's pattern, Σ_t Cov_{P_t}(c_p, c_q) over the queries of one sequence.
// [H, h/2, h/2] float64 on the CPU; N. A change δ = Σ_p β_p c_p of the logits makes a divergence of
// ½ βᵀ N β from the patterns, to second order. `inputs` as above; costs O(T² h) for every pair of
// every query head. May throw.
at::Tensor PatternGrams(const ResidentModel& model, int64_t layer, const at::Tensor& inputs,
                        ThreadPool* pool);

// Factors a [kept] of the kept pairs of one head that make the pattern nearest to the whole one:
// the least (Σ_kept a_p c_p − Σ c_p) in `gram` [h/2, h/2] of that head, damped towards 1 by a
// hundredth of the mean diagonal.
at::Tensor PairFactors(const at::Tensor& gram, const std::vector<int64_t>& kept);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_ATTENTION_EFFECTS_H_
