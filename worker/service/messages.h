// Between messages and plain types. Nothing here knows a network or an engine.
#ifndef ESPALIER_WORKER_SERVICE_MESSAGES_H_
#define ESPALIER_WORKER_SERVICE_MESSAGES_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/model_digest.h"
#include "common/subnet.h"
#include "common/text.h"
#include "espalier/v1/worker.pb.h"
#include "worker/engine/engine.h"

namespace espalier {

// `resident` when the message has no layers. INVALID_ARGUMENT, naming the layer, for masks that do
// not have the model's shape.
absl::StatusOr<Subnet> SubnetFromMessage(const v1::SubnetMasks& message, const ModelConfig& config,
                                         const Subnet& resident);

// An empty method is "none". INVALID_ARGUMENT for an unknown one.
absl::StatusOr<ReformationSpec> ReformationFromMessage(const v1::ReformationOptions& message);

// Sequences [first, first + count). INVALID_ARGUMENT unless they lie in `sequences` and count > 0.
absl::StatusOr<TokenSequences> SubRange(const TokenSequences& sequences, int64_t first,
                                        int64_t count);

void WriteDigest(const ModelDigest& digest, v1::LoadOutcome* outcome);
void WriteReformationErrors(const std::vector<ReformationError>& errors,
                            v1::ReformOutcome* outcome);
// INTERNAL when the sequences differ in their number of predictions.
absl::Status WriteLosses(const std::vector<SequenceLoss>& losses, bool divergence,
                         v1::EvaluateOutcome* outcome);
// Bytes of the message that are not UTF-8 become '?'.
void WriteError(const absl::Status& status, v1::TaskResult* result);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_MESSAGES_H_
