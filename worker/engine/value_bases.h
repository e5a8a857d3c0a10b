// In which directions the values of a KV group matter. Internal to the engine.
//
// Values are not rotated by position: any invertible B_g [h, h] may go into v of group g, and its
// inverse into o of the group's heads, without a change of the model. With a basis whose first
// directions matter most, a group that keeps n pairs keeps the first 2n directions of its values,
// whichever pairs of q and k those are (as the type-III compression of Lin et al. 2025, "MoDeGPT",
// arXiv 2408.09632, does; here for heads that share their values too).
#ifndef ESPALIER_WORKER_ENGINE_VALUE_BASES_H_
#define ESPALIER_WORKER_ENGINE_VALUE_BASES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model_config.h"

namespace espalier {

// Orthonormal bases, [G, h, h] float64, a direction a column, the most important first: the first m
// span what rank-m values v' = A v need so that o can give the most of what it gave. With z_e the
// inputs of o from head e, C = Σ_e E[z_e z_eᵀ] and S = Σ_e E‖z_e‖² O_eᵀ O_e over the group's heads,
// they are S^½ times the eigenvectors of S^½ C S^½, made orthonormal in their order: the optimum
// when the heads' inputs have the same covariance up to a factor and o makes up within each head;
// for heads with values of their own, always the former. `o_transposed` [H·h, d] and `gram` [H·h,
// H·h] lie on one device, where the result is. INVALID_ARGUMENT when `gram` is not finite. May
// throw libtorch's exceptions.
absl::StatusOr<at::Tensor> ValueBases(const at::Tensor& o_transposed, const at::Tensor& gram,
                                      const ModelConfig& config);

// B_gᵀ times the rows of each head: `rows` [H·h, n] or [G·h, n], as float64.
at::Tensor InBases(const at::Tensor& bases, const at::Tensor& rows);
// The Gram matrix of inputs of o in these bases, [H·h, H·h] float64.
at::Tensor GramInBases(const at::Tensor& bases, const at::Tensor& gram);

// The rows, of [heads · h], of the first 2 · group_pairs[g] directions of each head.
std::vector<int64_t> FirstDirections(const std::vector<int64_t>& group_pairs, int64_t heads,
                                     int64_t head_dim);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_VALUE_BASES_H_
