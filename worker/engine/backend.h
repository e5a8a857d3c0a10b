// What differs between devices: how one layer is computed, and how the loss is. Everything else
// (loading, selection, statistics, reformation) is shared.
#ifndef ESPALIER_WORKER_ENGINE_BACKEND_H_
#define ESPALIER_WORKER_ENGINE_BACKEND_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "common/subnet.h"
#include "worker/engine/resident_model.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// Which rows of a resident layer one evaluation uses.
struct LayerSelection {
  std::vector<int64_t> group_pairs;         // [G] n_g: kept pairs of each KV group
  std::vector<std::vector<int64_t>> pairs;  // [G][n_g] dense pair numbers: their frequencies
  std::vector<int64_t> query_rows;          // resident rows of q and o_transposed
  std::vector<int64_t> key_rows;            // resident rows of k and v
  std::vector<int64_t> channels;            // resident rows of gate, up, down_transposed
  bool all_attention = false;               // the resident rows, all of them
  bool all_mlp = false;
  at::Tensor o_transposed;     // [query rows, d]: takes the place of the gathered one, if defined
  at::Tensor down_transposed;  // [channels, d]: likewise

  bool has_attention() const { return !query_rows.empty(); }
  bool has_mlp() const { return !channels.empty(); }
};

// `mask` within `resident`: equal to it, or any mask when the resident layer is dense.
LayerSelection SelectLayer(const LayerMask& mask, const LayerMask& resident,
                           const ModelConfig& config);

// Inputs of a layer's linears over some rows of tokens, float32 on the backend's device.
struct LayerInputs {
  at::Tensor qkv;      // [n, d], normalised
  at::Tensor o;        // [n, query rows]
  at::Tensor gate_up;  // [n, d], normalised
  at::Tensor down;     // [n, channels]
};
// Called with consecutive rows, in order. Tensors are valid during the call only.
using LayerObserver = std::function<void(const LayerInputs&)>;

// One call at a time. All functions may throw libtorch's exceptions.
class Backend {
 public:
  virtual ~Backend() = default;

  // [count · T, d] float32.
  virtual at::Tensor Embed(const ResidentModel& model, const int32_t* tokens, int64_t rows) = 0;

  // x += attention(norm(x)), then x += mlp(norm(x)), in place. `x` holds `sequences` sequences of
  // `length` rows each. `observer` (may be empty) sees the inputs of the linears.
  virtual void RunLayer(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
                        int64_t sequences, int64_t length, at::Tensor* x,
                        const LayerObserver& observer) = 0;

  // Σ −ln p of each sequence's tokens 1 … T − 1, after the final norm and the head; never holds a
  // [rows, V] tensor.
  virtual std::vector<double> Losses(const ResidentModel& model, const at::Tensor& x,
                                     const int32_t* tokens, int64_t sequences, int64_t length) = 0;

  // gram += inputᵀ · input for input [n, k] and gram [k, k] (float32). Only the blocks on and above
  // the diagonal need be right until FinishGram.
  virtual void AccumulateGram(const at::Tensor& input, at::Tensor* gram) = 0;
  // Completes the part below the diagonal by symmetry.
  virtual void FinishGram(at::Tensor* gram) = 0;

  // Largest number of bytes held in gathered layers, and in activations, so far.
  virtual int64_t scratch_bytes() const = 0;
  virtual int64_t activation_bytes() const = 0;
};

// The fused CPU path; `pool` must outlive it.
std::unique_ptr<Backend> MakeCpuBackend(ThreadPool* pool);

// The same computation in plain libtorch operations on any device: the CUDA path, and an oracle.
std::unique_ptr<Backend> MakeTensorBackend();

// cos and sin of position · frequency, [length, h/2] float32 on the CPU, with Llama 3's scaling of
// frequencies where the model has it.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};
RotaryTable MakeRotaryTable(const ModelConfig& config, int64_t length);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_BACKEND_H_
