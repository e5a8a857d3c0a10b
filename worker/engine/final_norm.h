// How sure of itself a subnet is (docs/method.md, "Progressive reformation"). Internal to the
// engine.
#ifndef ESPALIER_WORKER_ENGINE_FINAL_NORM_H_
#define ESPALIER_WORKER_ENGINE_FINAL_NORM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/engine/backend.h"
#include "worker/engine/statistics.h"

namespace espalier {

// Of `sequences`, as many of the last ones nothing else of a progressive reformation is fitted to:
// a sixteenth, and none of fewer than eight.
int64_t HeldBack(int64_t sequences);

// The model's final norm, [d] float32, times the c of [0.5, 1.2] with the least divergence
// KL(dense ‖ subnet); `dense` and `subnet` [sequences · length, d] are what the last layer gives.
// The divergence is convex in c, which multiplies the logits: the inverse of a temperature (Guo et
// al. 2017, "On Calibration of Modern Neural Networks"). Undefined without sequences, when the
// divergence is not finite, or when no c further than 0.005 from 1 is better. May throw libtorch's
// exceptions.
absl::StatusOr<at::Tensor> FitFinalNorm(const ResidentModel& model, const at::Tensor& dense,
                                        const at::Tensor& subnet, const int32_t* tokens,
                                        int64_t sequences, int64_t length, Backend* backend,
                                        const Control& control);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_FINAL_NORM_H_
