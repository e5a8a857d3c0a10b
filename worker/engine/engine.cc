#include "worker/engine/engine.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/model_folder.h"
#include "common/status_macros.h"
#include "worker/cuda/loader.h"
#include "worker/engine/backend.h"
#include "worker/engine/compact_export.h"
#include "worker/engine/final_norm.h"
#include "worker/engine/memory.h"
#include "worker/engine/progressive_reformation.h"
#include "worker/engine/resident_model.h"
#include "worker/engine/statistics.h"

namespace espalier {
namespace {

// Rows of tokens whose activations are held at a time.
constexpr int64_t kRowsPerBatch = 16384;
// The same, in whole sequences.
int64_t BatchRows(int64_t length) { return std::max<int64_t>(1, kRowsPerBatch / length) * length; }

// Positions of the first sequence on which pairs are left out, one at a time.
constexpr int64_t kEffectPositions = 512;

std::string Megabytes(int64_t bytes) { return absl::StrCat((bytes + (1 << 20) - 1) >> 20, " MiB"); }

// Runs `body`, turning whatever it throws into a status. `what` names the work.
template <typename Body>
auto WithoutExceptions(const std::string& what, Body&& body) -> decltype(body()) {
  const c10::InferenceMode no_autograd;
  // The engine's own threads divide the work; libtorch's would only get in their way. A setting of
  // the calling thread, which may be another one in each call.
  at::set_num_threads(1);
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": out of device memory: ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (absl::StrContains(text, "not enough memory") || absl::StrContains(text, "allocate")) {
      return absl::ResourceExhaustedError(absl::StrCat(
          what, ": out of memory with ", Megabytes(AvailableMemory()), " available: ", text));
    }
    return absl::InternalError(absl::StrCat(what, ": ", text));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": out of memory with ", Megabytes(AvailableMemory()), " available"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(what, ": ", error.what()));
  }
}

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  absl::string_view number = name;
  if (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &index) && index >= 0) {
    return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown device \"", name, "\": use cpu or cuda:0, cuda:1, …"));
}

// Opens the CUDA module where one is needed, and refuses what cannot fit before anything is read.
absl::Status PrepareDevice(const at::Device& device, int64_t needed, const std::string& model) {
  int64_t available = 0;
  if (device.is_cuda()) {
    ESPALIER_ASSIGN_OR_RETURN(const CudaModule module, CudaModule::Open());
    ESPALIER_ASSIGN_OR_RETURN(const CudaDevice description, module.Describe(device.index()));
    available = description.free_bytes;
  } else {
    available = AvailableMemory();
  }
  if (available > 0 && needed > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat(model, ": the weights take ", Megabytes(needed), " on ", device.str(),
                     ", and ", Megabytes(available),
                     " are available; use bfloat16 precision, or a device with more memory"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(const TokenSequences& sequences, int64_t vocab_size) {
  if (sequences.sequence_length < 2 || sequences.count() == 0 ||
      sequences.count() * sequences.sequence_length !=
          static_cast<int64_t>(sequences.tokens.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the token sequences are malformed: ", sequences.tokens.size(), " tokens in sequences of ",
        sequences.sequence_length, "; at least one whole sequence of two tokens is needed"));
  }
  for (size_t i = 0; i < sequences.tokens.size(); ++i) {
    const int32_t token = sequences.tokens[i];
    if (token >= 0 && token < vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " at position ", i, " is outside the model's vocabulary of ",
                     vocab_size, ": the tokenizer does not belong to the model"));
  }
  return absl::OkStatus();
}

absl::Status CheckStage(const StageRange& stage, const ModelFolder& folder) {
  if (stage.first >= 0 && stage.count > 0 && stage.end() <= folder.config.num_layers) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(folder.path.string(), ": a stage of ", stage.count, " layers from layer ",
                   stage.first, " on is not part of a model of ", folder.config.num_layers));
}

class ResidentEngine : public Engine {
 public:
  ResidentEngine(ModelFolder folder, ResidentModel model, const EngineOptions& options)
      : folder_(std::move(folder)),
        model_(std::move(model)),
        stage_{model_.first_layer, model_.config.num_layers},
        scratch_(options.scratch),
        pool_(model_.device.is_cpu() ? options.threads : 1),
        backend_(model_.device.is_cpu() ? MakeCpuBackend(&pool_) : MakeTensorBackend()) {}

  const ModelConfig& config() const override { return folder_.config; }
  StageRange stage() const override { return stage_; }
  const Subnet& resident() const override { return model_.subnet; }
  EngineMemory memory() const override {
    return {model_.bytes(), backend_->scratch_bytes(), backend_->activation_bytes()};
  }

  absl::StatusOr<std::vector<SequenceLoss>> Evaluate(const Subnet& subnet,
                                                     const TokenSequences& sequences,
                                                     const EvaluationOptions& options,
                                                     const Control& control,
                                                     const Pipeline& pipeline) override;
  absl::StatusOr<std::shared_ptr<const Predictions>> Predict(const TokenSequences& sequences,
                                                             const Control& control,
                                                             const Pipeline& pipeline) override;
  absl::StatusOr<std::shared_ptr<const Calibration>> Calibrate(const TokenSequences& sequences,
                                                               const Control& control,
                                                               const Pipeline& pipeline) override;
  absl::StatusOr<UnitScores> Importance(const Calibration& calibration, double damping,
                                        const Control& control) override;
  absl::StatusOr<UnitScores> BaselineScores(const Calibration& calibration, ScoreKind kind,
                                            const Control& control) override;
  absl::StatusOr<Ranking> Rank(const Calibration& calibration, const CutSteps& steps,
                               const Control& control) override;
  absl::StatusOr<Reformation> Reform(const Calibration& calibration, const Subnet& subnet,
                                     const ReformationSpec& options,
                                     const Control& control) override;
  absl::StatusOr<Reformation> ReformProgressively(
      const Calibration& calibration, const Subnet& subnet, const ReformationSpec& options,
      const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) override;
  absl::StatusOr<bool> AllStages(bool yes, const Control& control,
                                 const Pipeline& pipeline) override;
  absl::Status ExportCompact(const Subnet& subnet, const ReformedWeights* reformed, DType dtype,
                             const ByteSink& sink, const Control& control) override;

 private:
  bool IsDense() const { return !folder_.masks.has_value(); }
  absl::Status CheckDense(const std::string& what) const;
  absl::Status CheckSubnet(const Subnet& subnet) const;
  absl::Status CheckPipeline(const Pipeline& pipeline) const;
  absl::Status CheckPredictions(const TokenSequences& sequences,
                                const EvaluationOptions& options) const;
  std::vector<LayerSelection> Select(const Subnet& subnet, const ReformedWeights* reformed) const;
  const at::Tensor& FinalNorm(const ReformedWeights* reformed) const {
    const bool replaced = reformed != nullptr && reformed->final_norm.defined();
    return replaced ? reformed->final_norm : model_.final_norm;
  }

  // Runs the stage's layers over batches of whole sequences. `observer_of` (may be empty) gives the
  // observer of each layer; on the last stage `finish` (may be empty) gets what the layers give.
  struct Batch {
    at::Tensor x;  // [count · length, d]
    const int32_t* tokens = nullptr;
    int64_t first = 0;  // sequence
    int64_t count = 0;
  };
  absl::Status Run(const std::vector<LayerSelection>& selections, const TokenSequences& sequences,
                   const std::function<LayerObserver(int64_t layer)>& observer_of,
                   const std::function<void(const Batch&)>& finish, const Control& control,
                   const Pipeline& pipeline);
  // A batch's activations, [rows, d]: embedded, or those of the stage before.
  absl::StatusOr<at::Tensor> Incoming(const int32_t* tokens, int64_t rows, int64_t batch,
                                      const Control& control, const Pipeline& pipeline);
  absl::Status PassOn(const at::Tensor& x, int64_t batch, const Control& control,
                      const Pipeline& pipeline);

  // Streams of sequences go in batches as in Run, so that no message is larger than there, numbered
  // from `batch`, which is left at the next one.
  absl::StatusOr<Streams> IncomingStreams(const std::vector<int32_t>& tokens, int64_t length,
                                          const Control& control, const Pipeline& pipeline,
                                          int64_t* batch);
  absl::Status PassStreamsOn(const Streams& streams, const Control& control,
                             const Pipeline& pipeline, int64_t* batch);

  bool first_stage() const { return HoldsEmbedding(stage_); }
  bool last_stage() const { return HoldsHead(stage_, folder_.config); }

  ModelFolder folder_;
  ResidentModel model_;
  const StageRange stage_;
  const std::string scratch_;  // as EngineOptions
  ThreadPool pool_;
  std::unique_ptr<Backend> backend_;
};

absl::Status ResidentEngine::CheckDense(const std::string& what) const {
  if (IsDense()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(folder_.path.string(), ": ", what,
                                                    " needs the dense model, and this is a "
                                                    "compact one"));
}

absl::Status ResidentEngine::CheckSubnet(const Subnet& subnet) const {
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(subnet, model_.config));
  if (IsDense() || subnet == model_.subnet) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder_.path.string(),
                   ": a compact model holds one subnet only; give masks with the dense model"));
}

absl::Status ResidentEngine::CheckPipeline(const Pipeline& pipeline) const {
  if (first_stage() && last_stage()) return absl::OkStatus();
  if (pipeline.transport != nullptr && (pipeline.transport->rank() == 0) == first_stage() &&
      (pipeline.transport->rank() + 1 == pipeline.transport->size()) == last_stage()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(folder_.path.string(), ": the layers ", stage_.first, " to ", stage_.end() - 1,
                   " are part of a model, and their place among its stages was not given"));
}

std::vector<LayerSelection> ResidentEngine::Select(const Subnet& subnet,
                                                   const ReformedWeights* reformed) const {
  std::vector<LayerSelection> selections;
  for (size_t i = 0; i < model_.layers.size(); ++i) {
    selections.push_back(SelectLayer(subnet.layers[i], model_.subnet.layers[i], model_.config));
    if (reformed == nullptr) continue;
    selections.back().weights = reformed->layers[i];
  }
  return selections;
}

absl::Status ResidentEngine::Run(const std::vector<LayerSelection>& selections,
                                 const TokenSequences& sequences,
                                 const std::function<LayerObserver(int64_t layer)>& observer_of,
                                 const std::function<void(const Batch&)>& finish,
                                 const Control& control, const Pipeline& pipeline) {
  const int64_t length = sequences.sequence_length;
  const int64_t at_once = BatchRows(length) / length;
  const int64_t batches = (sequences.count() + at_once - 1) / at_once;
  const auto layers = static_cast<int64_t>(selections.size());
  for (int64_t batch = 0; batch < batches; ++batch) {
    const int64_t count = std::min(at_once, sequences.count() - batch * at_once);
    const int32_t* tokens = sequences.tokens.data() + batch * at_once * length;
    ESPALIER_ASSIGN_OR_RETURN(at::Tensor x,
                              Incoming(tokens, count * length, batch, control, pipeline));
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (Cancelled(control)) return CancelledError();
      backend_->RunLayer(model_, layer, selections[layer], count, length, &x,
                         observer_of ? observer_of(layer) : LayerObserver());
      Report(control, (static_cast<double>(batch) +
                       static_cast<double>(layer + 1) / static_cast<double>(layers + 1)) /
                          static_cast<double>(batches));
    }
    if (Cancelled(control)) return CancelledError();
    if (!last_stage()) ESPALIER_RETURN_IF_ERROR(PassOn(x, batch, control, pipeline));
    if (finish && last_stage()) finish({x, tokens, batch * at_once, count});
  }
  Report(control, 1);
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> ResidentEngine::Incoming(const int32_t* tokens, int64_t rows,
                                                    int64_t batch, const Control& control,
                                                    const Pipeline& pipeline) {
  if (first_stage()) return backend_->Embed(model_, tokens, rows);
  Transport& transport = *pipeline.transport;
  const bool host = transport.memory() == Transport::Memory::kHost;
  at::Tensor x = at::empty(
      {rows, model_.config.hidden_size},
      at::TensorOptions().dtype(at::kFloat).device(host ? at::Device(at::kCPU) : model_.device));
  ESPALIER_RETURN_IF_ERROR(transport.Receive(transport.rank() - 1,
                                             {pipeline.task, pipeline.first + batch}, x.data_ptr(),
                                             static_cast<int64_t>(x.nbytes()), control.cancelled));
  return x.to(model_.device);
}

absl::Status ResidentEngine::PassOn(const at::Tensor& x, int64_t batch, const Control& control,
                                    const Pipeline& pipeline) {
  Transport& transport = *pipeline.transport;
  const bool host = transport.memory() == Transport::Memory::kHost;
  const at::Tensor out = (host ? x.to(at::kCPU) : x).contiguous();
  return transport.Send(transport.rank() + 1, {pipeline.task, pipeline.first + batch},
                        out.data_ptr(), static_cast<int64_t>(out.nbytes()), control.cancelled);
}

// Each stage adds its word to that of those before it; the last one's goes back through all.
absl::StatusOr<bool> ResidentEngine::AllStages(bool yes, const Control& control,
                                               const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  if (pipeline.transport == nullptr) return yes;
  Transport& transport = *pipeline.transport;
  const int last = transport.size() - 1;
  const MessageTag asked{pipeline.task, pipeline.first};
  const MessageTag told{pipeline.task, pipeline.first + 1};
  return WithoutExceptions("agreeing with the other stages", [&]() -> absl::StatusOr<bool> {
    const bool host = transport.memory() == Transport::Memory::kHost;
    const auto options =
        at::TensorOptions().dtype(at::kFloat).device(host ? at::Device(at::kCPU) : model_.device);
    const auto receive = [&](int peer, const MessageTag& tag) -> absl::StatusOr<bool> {
      const at::Tensor word = at::empty({1}, options);
      ESPALIER_RETURN_IF_ERROR(transport.Receive(
          peer, tag, word.data_ptr(), static_cast<int64_t>(word.nbytes()), control.cancelled));
      return word.item<float>() != 0;
    };
    const auto send = [&](int peer, const MessageTag& tag, bool value) {
      const at::Tensor word = at::full({1}, value ? 1.0 : 0.0, options);
      return transport.Send(peer, tag, word.data_ptr(), static_cast<int64_t>(word.nbytes()),
                            control.cancelled);
    };
    bool all = yes;
    if (transport.rank() > 0) {
      ESPALIER_ASSIGN_OR_RETURN(const bool before, receive(transport.rank() - 1, asked));
      all = all && before;
    }
    if (transport.rank() < last) {
      ESPALIER_RETURN_IF_ERROR(send(transport.rank() + 1, asked, all));
      ESPALIER_ASSIGN_OR_RETURN(all, receive(transport.rank() + 1, told));
    }
    if (transport.rank() > 0) {
      ESPALIER_RETURN_IF_ERROR(send(transport.rank() - 1, told, all));
    }
    return all;
  });
}

absl::StatusOr<std::vector<SequenceLoss>> ResidentEngine::Evaluate(const Subnet& subnet,
                                                                   const TokenSequences& sequences,
                                                                   const EvaluationOptions& options,
                                                                   const Control& control,
                                                                   const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  ESPALIER_RETURN_IF_ERROR(CheckPredictions(sequences, options));
  const int64_t length = sequences.sequence_length;
  std::vector<SequenceLoss> losses;
  const auto finish = [&](const Batch& batch) {
    DenseRows dense;
    if (options.dense != nullptr) {
      const int64_t row = (options.first + batch.first) * length;
      dense = {options.dense->rows.expected.narrow(0, row, batch.count * length),
               options.dense->rows.entropy.narrow(0, row, batch.count * length)};
    }
    for (const LossSums& sums :
         backend_->Losses(model_, FinalNorm(options.reformed), batch.x, batch.tokens, batch.count,
                          length, options.dense != nullptr ? &dense : nullptr)) {
      losses.push_back({sums.nll, length - 1, sums.kl});
    }
  };
  ESPALIER_RETURN_IF_ERROR(WithoutExceptions("evaluating a subnet", [&] {
    return Run(Select(subnet, options.reformed), sequences, nullptr, finish, control, pipeline);
  }));
  return losses;
}

absl::Status ResidentEngine::CheckPredictions(const TokenSequences& sequences,
                                              const EvaluationOptions& options) const {
  if (options.dense == nullptr || !last_stage()) return absl::OkStatus();
  const Predictions& dense = *options.dense;
  if (dense.length == sequences.sequence_length && options.first >= 0 &&
      options.first + sequences.count() <= dense.sequences) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the dense model's predictions are of ", dense.sequences, " sequences of ",
                   dense.length, " tokens; asked for were ", sequences.count(), " of ",
                   sequences.sequence_length, " from number ", options.first, " on"));
}

absl::StatusOr<std::shared_ptr<const Predictions>> ResidentEngine::Predict(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("comparing with the dense model"));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  auto predictions = std::make_shared<Predictions>();
  predictions->sequences = sequences.count();
  predictions->length = sequences.sequence_length;
  ESPALIER_RETURN_IF_ERROR(
      WithoutExceptions("the dense model's predictions", [&]() -> absl::Status {
        std::vector<at::Tensor> expected;
        std::vector<at::Tensor> entropy;
        const auto finish = [&](const Batch& batch) {
          DenseRows rows = backend_->Predictions(model_, batch.x);
          expected.push_back(std::move(rows.expected));
          entropy.push_back(std::move(rows.entropy));
        };
        ESPALIER_RETURN_IF_ERROR(
            Run(Select(model_.subnet, nullptr), sequences, nullptr, finish, control, pipeline));
        if (last_stage()) predictions->rows = {at::cat(expected), at::cat(entropy)};
        return absl::OkStatus();
      }));
  return std::shared_ptr<const Predictions>(std::move(predictions));
}

absl::StatusOr<std::shared_ptr<const Calibration>> ResidentEngine::Calibrate(
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("calibration"));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  const ModelConfig& config = model_.config;
  const int64_t wide = config.num_heads * config.head_dim;
  const int64_t d = config.hidden_size;
  const int64_t f = config.intermediate_size;
  const int64_t needed = config.num_layers * (2 * d * d + wide * wide + f * f) * 4;
  const int64_t available = AvailableMemory();
  if (available > 0 && needed > available) {
    return absl::ResourceExhaustedError(absl::StrCat("the Gram matrices of ", config.num_layers,
                                                     " layers take ", Megabytes(needed), ", and ",
                                                     Megabytes(available), " are available"));
  }
  auto calibration = std::make_shared<Calibration>();
  if (!scratch_.empty()) calibration->repairs.SpillTo(scratch_);
  const absl::Status status = WithoutExceptions("calibration", [&]() -> absl::Status {
    const auto square = [&](int64_t n) {
      return at::zeros({n, n}, at::TensorOptions().dtype(at::kFloat).device(model_.device));
    };
    const auto zeros = [&](int64_t n) {
      return at::zeros({n}, at::TensorOptions().dtype(at::kDouble).device(model_.device));
    };
    for (int64_t i = 0; i < config.num_layers; ++i) {
      calibration->layers.push_back(
          {square(d), square(wide), square(d), square(f), zeros(wide), zeros(f)});
    }
    calibration->positions = std::ssize(sequences.tokens);
    calibration->first_inputs.resize(config.num_layers);
    const auto observer_of = [&](int64_t layer) -> LayerObserver {
      LayerGrams* grams = &calibration->layers[layer];
      at::Tensor* first = &calibration->first_inputs[layer];
      return [this, grams, first, &sequences](const LayerInputs& inputs) {
        if (!first->defined()) {
          const int64_t rows = std::min(kEffectPositions, sequences.sequence_length);
          *first = inputs.qkv.narrow(0, 0, rows).to(at::kCPU, at::kFloat, false, /*copy=*/true);
        }
        backend_->AccumulateGram(inputs.qkv, &grams->qkv);
        backend_->AccumulateGram(inputs.o, &grams->o);
        backend_->AccumulateGram(inputs.gate_up, &grams->gate_up);
        backend_->AccumulateGram(inputs.down, &grams->down);
        grams->o_sum += inputs.o.sum(0, /*keepdim=*/false, at::kDouble);
        grams->down_sum += inputs.down.sum(0, /*keepdim=*/false, at::kDouble);
      };
    };
    ESPALIER_RETURN_IF_ERROR(
        Run(Select(model_.subnet, nullptr), sequences, observer_of, nullptr, control, pipeline));
    for (int64_t i = 0; i < config.num_layers; ++i) {
      LayerGrams& grams = calibration->layers[i];
      for (at::Tensor* gram : {&grams.qkv, &grams.o, &grams.gate_up, &grams.down}) {
        backend_->FinishGram(gram);
        *gram = gram->to(at::kCPU);
      }
      for (at::Tensor* sum : {&grams.o_sum, &grams.down_sum}) *sum = sum->to(at::kCPU);
      const ResidentLayer& layer = model_.layers[i];
      grams.o_energy = OutputEnergy(layer.o_transposed.to(at::kCPU, at::kFloat), grams.o);
      grams.down_energy = OutputEnergy(layer.down_transposed.to(at::kCPU, at::kFloat), grams.down);
    }
    return absl::OkStatus();
  });
  ESPALIER_RETURN_IF_ERROR(status);
  return std::shared_ptr<const Calibration>(std::move(calibration));
}

absl::StatusOr<UnitScores> ResidentEngine::Importance(const Calibration& calibration,
                                                      double damping, const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("scoring units"));
  return WithoutExceptions("scoring units", [&]() -> absl::StatusOr<UnitScores> {
    return ComputeImportance(model_, calibration, damping, &pool_, control);
  });
}

absl::StatusOr<UnitScores> ResidentEngine::BaselineScores(const Calibration& calibration,
                                                          ScoreKind kind, const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("scoring units"));
  return WithoutExceptions("scoring units", [&]() -> absl::StatusOr<UnitScores> {
    return ComputeBaselineScores(model_, calibration, kind, &pool_, control);
  });
}

absl::StatusOr<Ranking> ResidentEngine::Rank(const Calibration& calibration, const CutSteps& steps,
                                             const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("ranking units"));
  if (steps.channels < 1 || steps.pairs < 1) {
    return absl::InvalidArgumentError("sizes of cuts must be multiples of at least 1");
  }
  return WithoutExceptions("ranking units", [&]() -> absl::StatusOr<Ranking> {
    return ComputeRanking(model_, calibration, steps, &pool_, control);
  });
}

absl::StatusOr<Reformation> ResidentEngine::ReformProgressively(
    const Calibration& calibration, const Subnet& subnet, const ReformationSpec& options,
    const TokenSequences& sequences, const Control& control, const Pipeline& pipeline) {
  ESPALIER_RETURN_IF_ERROR(CheckPipeline(pipeline));
  ESPALIER_RETURN_IF_ERROR(CheckDense("reformation"));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  ESPALIER_RETURN_IF_ERROR(CheckTokens(sequences, model_.config.vocab_size));
  return WithoutExceptions("progressive reformation", [&]() -> absl::StatusOr<Reformation> {
    // As candidates are repaired, so that those of the search are there already.
    ReformationSpec repair = options;
    repair.method = ReformationMethod::kClosedForm;
    ESPALIER_ASSIGN_OR_RETURN(
        const Reformation repaired,
        ComputeReformation(model_, calibration, subnet, repair, &pool_, control));
    const int64_t length = sequences.sequence_length;
    const int64_t held = HeldBack(sequences.count());
    const int64_t fitted = (sequences.count() - held) * length;
    int64_t batch = 0;
    std::vector<Streams> streams;
    ESPALIER_ASSIGN_OR_RETURN(streams.emplace_back(),
                              IncomingStreams(sequences.tokens, length, control, pipeline, &batch));
    streams[0].fitted_rows = fitted;
    const std::vector<int32_t> starts = SequenceStarts(sequences.tokens, fitted);
    ESPALIER_ASSIGN_OR_RETURN(streams.emplace_back(),
                              IncomingStreams(starts, /*length=*/1, control, pipeline, &batch));
    streams[1].fitted_rows = std::ssize(starts);
    streams[1].weight =
        static_cast<double>(sequences.count() - held) / static_cast<double>(std::ssize(starts));
    ESPALIER_ASSIGN_OR_RETURN(
        Reformation reformed,
        ComputeProgressiveReformation(model_, Select(subnet, repaired.weights.get()), options,
                                      backend_.get(), &pool_, control, &streams));
    if (!last_stage()) {
      batch = 0;
      for (const Streams& part : streams) {
        ESPALIER_RETURN_IF_ERROR(PassStreamsOn(part, control, pipeline, &batch));
      }
      return reformed;
    }
    auto weights = std::make_shared<ReformedWeights>(*reformed.weights);
    ESPALIER_ASSIGN_OR_RETURN(
        weights->final_norm,
        FitFinalNorm(model_, streams[0].dense.narrow(0, fitted, held * length),
                     streams[0].reformed.narrow(0, fitted, held * length),
                     sequences.tokens.data() + fitted, held, length, backend_.get(), control));
    reformed.weights = std::move(weights);
    return reformed;
  });
}

absl::StatusOr<Streams> ResidentEngine::IncomingStreams(const std::vector<int32_t>& tokens,
                                                        int64_t length, const Control& control,
                                                        const Pipeline& pipeline, int64_t* batch) {
  const int64_t rows = std::ssize(tokens);
  const auto options = at::TensorOptions().dtype(at::kFloat).device(model_.device);
  Streams streams{.dense = at::empty({rows, model_.config.hidden_size}, options),
                  .reformed = at::empty({rows, model_.config.hidden_size}, options),
                  .length = length};
  const int64_t step = BatchRows(length);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    const int64_t dense_batch = (*batch)++;
    const int64_t reformed_batch = (*batch)++;
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor dense, Incoming(tokens.data() + first, count,
                                                               dense_batch, control, pipeline));
    streams.dense.narrow(0, first, count).copy_(dense);
    if (first_stage()) {
      streams.reformed.narrow(0, first, count).copy_(dense);
      continue;
    }
    ESPALIER_ASSIGN_OR_RETURN(
        const at::Tensor reformed,
        Incoming(tokens.data() + first, count, reformed_batch, control, pipeline));
    streams.reformed.narrow(0, first, count).copy_(reformed);
  }
  return streams;
}

absl::Status ResidentEngine::PassStreamsOn(const Streams& streams, const Control& control,
                                           const Pipeline& pipeline, int64_t* batch) {
  const int64_t rows = streams.dense.size(0);
  const int64_t step = BatchRows(streams.length);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    for (const at::Tensor* stream : {&streams.dense, &streams.reformed}) {
      ESPALIER_RETURN_IF_ERROR(
          PassOn(stream->narrow(0, first, count), (*batch)++, control, pipeline));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Reformation> ResidentEngine::Reform(const Calibration& calibration,
                                                   const Subnet& subnet,
                                                   const ReformationSpec& options,
                                                   const Control& control) {
  ESPALIER_RETURN_IF_ERROR(CheckDense("reformation"));
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(subnet));
  return WithoutExceptions("reformation", [&]() -> absl::StatusOr<Reformation> {
    return ComputeReformation(model_, calibration, subnet, options, &pool_, control);
  });
}

absl::Status ResidentEngine::ExportCompact(const Subnet& subnet, const ReformedWeights* reformed,
                                           DType dtype, const ByteSink& sink,
                                           const Control& control) {
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(subnet, folder_.config));
  const Subnet own = StageSubnet(subnet, stage_);
  ESPALIER_RETURN_IF_ERROR(CheckSubnet(own));
  return WithoutExceptions("exporting the subnet", [&]() -> absl::Status {
    const ModelConfig config =
        ReformedConfig(folder_.config, reformed != nullptr && reformed->biases);
    return WriteCompactTensors(folder_, config, Select(own, reformed),
                               reformed == nullptr ? at::Tensor() : reformed->final_norm, stage_,
                               subnet, dtype, sink, control);
  });
}

}  // namespace

double Perplexity(const std::vector<SequenceLoss>& losses) {
  double sum = 0;
  for (const SequenceLoss& loss : losses) {
    sum += loss.nll_sum / static_cast<double>(loss.predictions);
  }
  return std::exp(sum / static_cast<double>(losses.size()));
}

bool Cancelled(const Control& control) {
  return control.cancelled != nullptr && control.cancelled->load(std::memory_order_relaxed);
}

absl::Status CancelledError() { return absl::CancelledError("stopped on request"); }

void Report(const Control& control, double fraction) {
  if (control.progress) control.progress(fraction);
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Load(const std::filesystem::path& model,
                                                     const EngineOptions& options) {
  ESPALIER_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  ESPALIER_ASSIGN_OR_RETURN(ModelFolder folder, OpenModelFolder(model));
  const bool wide = options.precision == Precision::kFloat32;
  const StageRange stage = options.stage.value_or(WholeModel(folder.config));
  ESPALIER_RETURN_IF_ERROR(CheckStage(stage, folder));
  int64_t needed = 0;
  for (const TensorSpec& spec : StageTensors(folder.config, folder.resident(),
                                             wide ? DType::kFloat32 : DType::kBFloat16, stage)) {
    needed += spec.ByteSize();
  }
  ESPALIER_RETURN_IF_ERROR(PrepareDevice(device, needed, model.string()));
  return WithoutExceptions(
      absl::StrCat("loading ", model.string()), [&]() -> absl::StatusOr<std::unique_ptr<Engine>> {
        ESPALIER_ASSIGN_OR_RETURN(
            ResidentModel resident_model,
            LoadResidentModel(folder, stage, wide ? at::kFloat : at::kBFloat16, device));
        // The weights were copied; the export reads the rest again.
        folder.tensors->ReleasePages();
        return std::make_unique<ResidentEngine>(std::move(folder), std::move(resident_model),
                                                options);
      });
}

}  // namespace espalier
