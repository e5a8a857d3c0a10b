// One engine call's way through the layers of a stage: batches of whole sequences come in as tokens
// or from the stage before, and go on to the next one. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_STAGE_RUNNER_H_
#define ESPALIER_WORKER_ENGINE_STAGE_RUNNER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/text.h"
#include "worker/engine/backend.h"
#include "worker/engine/engine.h"
#include "worker/engine/progressive_reformation.h"

namespace espalier {

// For one call of the engine: messages are numbered from its construction on. Everything given must
// outlive it. May throw libtorch's exceptions.
class StageRunner {
 public:
  // Of a stage among those of the model.
  struct Place {
    bool first = true;
    bool last = true;
  };
  StageRunner(const ResidentModel& model, Backend* backend, Place place, const Control& control,
              const Pipeline& pipeline)
      : model_(model), backend_(backend), place_(place), control_(control), pipeline_(pipeline) {}

  struct Batch {
    at::Tensor x;  // [count · length, d]
    const int32_t* tokens = nullptr;
    int64_t first = 0;  // sequence
    int64_t count = 0;
  };
  // Runs the stage's layers over all sequences. `observer_of` (may be empty) gives the observer of
  // each layer; on the last stage `finish` (may be empty) gets what the layers give.
  absl::Status Run(const std::vector<LayerSelection>& selections, const TokenSequences& sequences,
                   const std::function<LayerObserver(int64_t layer)>& observer_of,
                   const std::function<void(const Batch&)>& finish);

  // Both streams before the stage's first layer; they go in batches as in Run, so that no message
  // is larger than there.
  absl::StatusOr<Streams> IncomingStreams(const std::vector<int32_t>& tokens, int64_t length);
  absl::Status PassOn(const Streams& streams);

  // Whether all stages say yes: the same answer on each of them.
  absl::StatusOr<bool> AllStages(bool yes);

 private:
  // A batch's activations, [rows, d]: embedded, or those of the stage before.
  absl::StatusOr<at::Tensor> Incoming(const int32_t* tokens, int64_t rows);
  absl::Status PassOn(const at::Tensor& x);
  // Where tensors must lie that are sent or received.
  at::Device TransportDevice() const;

  const ResidentModel& model_;
  Backend* const backend_;
  const Place place_;
  const Control& control_;
  const Pipeline& pipeline_;
  int64_t received_ = 0;  // batches
  int64_t sent_ = 0;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_STAGE_RUNNER_H_
