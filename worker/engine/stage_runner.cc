#include "worker/engine/stage_runner.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>

#include "common/status_macros.h"
#include "worker/engine/control.h"

namespace espalier {
namespace {

// Rows of tokens whose activations are held at a time.
constexpr int64_t kRowsPerBatch = 16384;
// The same, in whole sequences.
int64_t BatchRows(int64_t length) { return std::max<int64_t>(1, kRowsPerBatch / length) * length; }

}  // namespace

absl::Status StageRunner::Run(const std::vector<LayerSelection>& selections,
                              const TokenSequences& sequences,
                              const std::function<LayerObserver(int64_t layer)>& observer_of,
                              const std::function<void(const Batch&)>& finish) {
  const int64_t length = sequences.sequence_length;
  const int64_t at_once = BatchRows(length) / length;
  const int64_t batches = (sequences.count() + at_once - 1) / at_once;
  const auto layers = static_cast<int64_t>(selections.size());
  for (int64_t batch = 0; batch < batches; ++batch) {
    const int64_t count = std::min(at_once, sequences.count() - batch * at_once);
    const int32_t* tokens = sequences.tokens.data() + batch * at_once * length;
    ESPALIER_ASSIGN_OR_RETURN(at::Tensor x, Incoming(tokens, count * length));
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (Cancelled(control_)) return CancelledError();
      backend_->RunLayer(model_, layer, selections[layer], count, length, &x,
                         observer_of ? observer_of(layer) : LayerObserver());
      Report(control_, (static_cast<double>(batch) +
                        static_cast<double>(layer + 1) / static_cast<double>(layers + 1)) /
                           static_cast<double>(batches));
    }
    if (Cancelled(control_)) return CancelledError();
    if (!place_.last) ESPALIER_RETURN_IF_ERROR(PassOn(x));
    if (finish && place_.last) finish({x, tokens, batch * at_once, count});
  }
  Report(control_, 1);
  return absl::OkStatus();
}

at::Device StageRunner::TransportDevice() const {
  const bool host = pipeline_.transport->memory() == Transport::Memory::kHost;
  return host ? at::Device(at::kCPU) : model_.device;
}

absl::StatusOr<at::Tensor> StageRunner::Incoming(const int32_t* tokens, int64_t rows) {
  if (place_.first) return backend_->Embed(model_, tokens, rows);
  Transport& transport = *pipeline_.transport;
  at::Tensor x = at::empty({rows, model_.config.hidden_size},
                           at::TensorOptions().dtype(at::kFloat).device(TransportDevice()));
  ESPALIER_RETURN_IF_ERROR(
      transport.Receive(transport.rank() - 1, {pipeline_.task, pipeline_.first + received_++},
                        x.data_ptr(), static_cast<int64_t>(x.nbytes()), control_.cancelled));
  return x.to(model_.device);
}

absl::Status StageRunner::PassOn(const at::Tensor& x) {
  Transport& transport = *pipeline_.transport;
  const at::Tensor out = x.to(TransportDevice()).contiguous();
  return transport.Send(transport.rank() + 1, {pipeline_.task, pipeline_.first + sent_++},
                        out.data_ptr(), static_cast<int64_t>(out.nbytes()), control_.cancelled);
}

absl::StatusOr<Streams> StageRunner::IncomingStreams(const std::vector<int32_t>& tokens,
                                                     int64_t length) {
  const int64_t rows = std::ssize(tokens);
  const auto options = at::TensorOptions().dtype(at::kFloat).device(model_.device);
  Streams streams{.dense = at::empty({rows, model_.config.hidden_size}, options),
                  .reformed = at::empty({rows, model_.config.hidden_size}, options),
                  .length = length};
  const int64_t step = BatchRows(length);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor dense, Incoming(tokens.data() + first, count));
    streams.dense.narrow(0, first, count).copy_(dense);
    if (place_.first) {
      streams.reformed.narrow(0, first, count).copy_(dense);
      continue;
    }
    ESPALIER_ASSIGN_OR_RETURN(const at::Tensor reformed, Incoming(tokens.data() + first, count));
    streams.reformed.narrow(0, first, count).copy_(reformed);
  }
  return streams;
}

absl::Status StageRunner::PassOn(const Streams& streams) {
  const int64_t rows = streams.dense.size(0);
  const int64_t step = BatchRows(streams.length);
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    ESPALIER_RETURN_IF_ERROR(PassOn(streams.dense.narrow(0, first, count)));
    ESPALIER_RETURN_IF_ERROR(PassOn(streams.reformed.narrow(0, first, count)));
  }
  return absl::OkStatus();
}

// Each stage adds its word to that of those before it; the last one's goes back through all.
absl::StatusOr<bool> StageRunner::AllStages(bool yes) {
  if (pipeline_.transport == nullptr) return yes;
  Transport& transport = *pipeline_.transport;
  const int last = transport.size() - 1;
  const MessageTag asked{pipeline_.task, pipeline_.first};
  const MessageTag told{pipeline_.task, pipeline_.first + 1};
  const auto options = at::TensorOptions().dtype(at::kFloat).device(TransportDevice());
  const auto receive = [&](int peer, const MessageTag& tag) -> absl::StatusOr<bool> {
    const at::Tensor word = at::empty({1}, options);
    ESPALIER_RETURN_IF_ERROR(transport.Receive(
        peer, tag, word.data_ptr(), static_cast<int64_t>(word.nbytes()), control_.cancelled));
    return word.item<float>() != 0;
  };
  const auto send = [&](int peer, const MessageTag& tag, bool value) {
    const at::Tensor word = at::full({1}, value ? 1.0 : 0.0, options);
    return transport.Send(peer, tag, word.data_ptr(), static_cast<int64_t>(word.nbytes()),
                          control_.cancelled);
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
  if (transport.rank() > 0) ESPALIER_RETURN_IF_ERROR(send(transport.rank() - 1, told, all));
  return all;
}

}  // namespace espalier
