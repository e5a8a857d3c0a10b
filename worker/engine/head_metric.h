// How much predictions change with the last residual stream. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_HEAD_METRIC_H_
#define ESPALIER_WORKER_ENGINE_HEAD_METRIC_H_

#include <ATen/core/Tensor.h>

#include "worker/engine/resident_model.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// The mean Fisher information of the model's predictions p about the residual stream x that they
// are made from: after a small change δ of x, the divergence is ½ δᵀ F δ on average. With E the
// head, w the final norm, d the hidden size and s² the mean square of a row of x,
//
//   F = mean over rows of (1/s²) P w (Σ_v p_v E_v E_vᵀ − m mᵀ) w P,
//   m = Σ_v p_v E_v,   P = I − x xᵀ / (d s²).
//
// `x` [n, d] float32 is what the last layer gives, on the model's device. [d, d] float32. Holds two
// rows of logits for 128 rows of x a thread. May throw libtorch's exceptions.
at::Tensor HeadMetric(const ResidentModel& model, const at::Tensor& x, ThreadPool* pool);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_HEAD_METRIC_H_
