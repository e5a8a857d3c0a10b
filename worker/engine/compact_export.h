// The compact model's tensors, from the dense folder and the reformed weights.
#ifndef ESPALIER_WORKER_ENGINE_COMPACT_EXPORT_H_
#define ESPALIER_WORKER_ENGINE_COMPACT_EXPORT_H_

#include <vector>

#include "absl/status/status.h"
#include "common/model_folder.h"
#include "worker/engine/backend.h"
#include "worker/engine/engine.h"

namespace espalier {

// Bytes of the StageTensors of `stage`, in their order. `config` is that of the export
// (ReformedConfig), `subnet` the whole model's, `selections` are the stage's, and `final_norm`
// (undefined: the folder's) is the last one's. Inherited weights
// come straight from the folder, so that a model that was evaluated in a narrower type loses
// nothing.
absl::Status WriteCompactTensors(const ModelFolder& folder, const ModelConfig& config,
                                 const std::vector<LayerSelection>& selections,
                                 const at::Tensor& final_norm, const StageRange& stage,
                                 const Subnet& subnet, DType dtype, const ByteSink& sink,
                                 const Control& control);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_COMPACT_EXPORT_H_
