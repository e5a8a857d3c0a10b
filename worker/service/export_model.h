// Sends a subnet as a compact model folder, file by file.
#ifndef ESPALIER_WORKER_SERVICE_EXPORT_MODEL_H_
#define ESPALIER_WORKER_SERVICE_EXPORT_MODEL_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/subnet.h"
#include "espalier/v1/worker.pb.h"
#include "worker/engine/engine.h"
#include "worker/service/artifact_sink.h"
#include "worker/service/loaded_model.h"
#include "worker/service/task_control.h"

namespace espalier {

// Sends the stage's part of compact/model.safetensors, in the type of the dense model's tensors;
// the first stage also compact/config.json and the tokenizer's files. `subnet` is the whole
// model's, `stage` the stage's number, `config` that of the reformed model (ReformedConfig),
// `begin` how much of the task is already done. Returns the bytes sent.
absl::StatusOr<int64_t> ExportModel(const v1::Task& task, int stage, const Subnet& subnet,
                                    const ModelConfig& config, const ReformedWeights* reformed,
                                    double begin, LoadedModel* model, ArtifactSink* sink,
                                    TaskControl* control);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_EXPORT_MODEL_H_
