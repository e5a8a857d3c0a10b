#include "worker/service/messages.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/bitmask.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace espalier {
namespace {

absl::Status InLayer(const absl::Status& status, size_t layer, const std::string& mask) {
  return absl::Status(status.code(), absl::StrCat("the task's masks, layer ", layer, ", ", mask,
                                                  ": ", status.message()));
}

absl::StatusOr<LayerMask> LayerFromMessage(const v1::LayerMasks& message, const ModelConfig& config,
                                           size_t layer) {
  LayerMask mask;
  for (const std::string& bytes : message.attention()) {
    absl::StatusOr<Bitmask> group = Bitmask::FromBytes(config.pairs(), bytes);
    if (!group.ok()) {
      return InLayer(group.status(), layer,
                     absl::StrCat("attention group ", mask.attention.size()));
    }
    mask.attention.push_back(*std::move(group));
  }
  absl::StatusOr<Bitmask> mlp = Bitmask::FromBytes(config.intermediate_size, message.mlp());
  if (!mlp.ok()) return InLayer(mlp.status(), layer, "mlp");
  mask.mlp = *std::move(mlp);
  return mask;
}

}  // namespace

absl::StatusOr<Subnet> SubnetFromMessage(const v1::SubnetMasks& message, const ModelConfig& config,
                                         const Subnet& resident) {
  if (message.layers_size() == 0) return resident;
  Subnet subnet;
  for (const v1::LayerMasks& layer : message.layers()) {
    ESPALIER_ASSIGN_OR_RETURN(LayerMask mask,
                              LayerFromMessage(layer, config, subnet.layers.size()));
    subnet.layers.push_back(std::move(mask));
  }
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(subnet, config));
  return subnet;
}

absl::StatusOr<ReformationSpec> ReformationFromMessage(const v1::ReformationOptions& message) {
  ReformationSpec spec;
  if (message.method().empty() || message.method() == "none") {
    spec.method = ReformationMethod::kNone;
    return spec;
  }
  if (message.method() == "closed_form") {
    spec.method = ReformationMethod::kClosedForm;
  } else if (message.method() == "admm") {
    spec.method = ReformationMethod::kAdmm;
  } else if (message.method() == "progressive") {
    spec.method = ReformationMethod::kProgressive;
  } else if (message.method() == "bias") {
    spec.method = ReformationMethod::kBias;
  } else if (message.method() == "projected") {
    spec.method = ReformationMethod::kProjected;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("reformation method '", message.method(),
                     "' is none of none, closed_form, admm, progressive, bias, projected"));
  }
  spec.damping = message.damping();
  spec.rho = message.rho();
  spec.iterations = message.iterations();
  spec.progressive_damping = message.progressive_damping();
  spec.input_damping = message.input_damping();
  return spec;
}

absl::StatusOr<TokenSequences> SubRange(const TokenSequences& sequences, int64_t first,
                                        int64_t count) {
  if (first < 0 || count <= 0 || first > sequences.count() - count) {
    return absl::InvalidArgumentError(
        absl::StrCat("the task asks for ", count, " sequences from number ", first, " on of ",
                     sequences.count(), " in data set ", sequences.hash));
  }
  if (count == sequences.count()) return sequences;
  const auto begin = sequences.tokens.begin() + first * sequences.sequence_length;
  return MakeTokenSequences(sequences.sequence_length,
                            std::vector<int32_t>(begin, begin + count * sequences.sequence_length));
}

void WriteDigest(const ModelDigest& digest, v1::LoadOutcome* outcome) {
  outcome->set_description(digest.description);
  for (const auto& [name, hash] : digest.tensors) {
    v1::TensorDigest* tensor = outcome->add_tensors();
    tensor->set_name(name);
    tensor->set_sha256(hash);
  }
}

void WriteReformationErrors(const std::vector<ReformationError>& errors,
                            v1::ReformOutcome* outcome) {
  for (const ReformationError& error : errors) {
    v1::LinearError* message = outcome->add_errors();
    message->set_layer(error.layer);
    message->set_mlp(error.mlp);
    message->set_before(error.before);
    message->set_after(error.after);
  }
}

absl::Status WriteLosses(const std::vector<SequenceLoss>& losses, bool divergence,
                         v1::EvaluateOutcome* outcome) {
  for (const SequenceLoss& loss : losses) {
    if (loss.predictions != losses.front().predictions) {
      return absl::InternalError(absl::StrCat("sequences of one data set gave ",
                                              losses.front().predictions, " and ", loss.predictions,
                                              " predictions"));
    }
    outcome->add_nll_sums(loss.nll_sum);
    if (divergence) outcome->add_kl_sums(loss.kl_sum);
    outcome->set_predictions_per_sequence(loss.predictions);
  }
  return absl::OkStatus();
}

void WriteError(const absl::Status& status, v1::TaskResult* result) {
  // protobuf refuses strings that are not UTF-8, and file names may be anything.
  std::string message(status.message());
  while (const std::optional<size_t> invalid = InvalidUtf8Offset(message)) message[*invalid] = '?';
  result->mutable_error()->set_code(static_cast<int>(status.code()));
  result->mutable_error()->set_message(std::move(message));
}

}  // namespace espalier
