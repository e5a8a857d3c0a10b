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

// Weights that take the place of a layer's, on the kept rows; undefined: the resident ones. gate
// and up are both defined or none; these and q, k and v have the model's type. o and down may also
// be float32, and their biases are.
struct LayerWeights {
  at::Tensor q;                // [kept query rows, d]
  at::Tensor k;                // [kept key rows, d]
  at::Tensor v;                // [kept key rows, d]; any 2 n_g directions of each group's values
  at::Tensor o_transposed;     // [kept query rows, d]
  at::Tensor gate;             // [kept channels, d]
  at::Tensor up;               // [kept channels, d]
  at::Tensor down_transposed;  // [kept channels, d]
  at::Tensor o_bias;           // [d]
  at::Tensor down_bias;        // [d]
};

// Which rows of a resident layer one evaluation uses.
struct LayerSelection {
  std::vector<int64_t> group_pairs;         // [G] n_g: kept pairs of each KV group
  std::vector<std::vector<int64_t>> pairs;  // [G][n_g] dense pair numbers: their frequencies
  std::vector<int64_t> query_rows;          // resident rows of q and o_transposed
  std::vector<int64_t> key_rows;            // resident rows of k and v
  std::vector<int64_t> channels;            // resident rows of gate, up, down_transposed
  bool all_attention = false;               // the resident rows, all of them
  bool all_mlp = false;
  LayerWeights weights;  // instead of the gathered ones

  bool has_attention() const { return !query_rows.empty(); }
  bool has_mlp() const { return !channels.empty(); }
};

// `mask` within `resident`: equal to it, or any mask when the resident layer is dense.
LayerSelection SelectLayer(const LayerMask& mask, const LayerMask& resident,
                           const ModelConfig& config);

// Inputs of a layer's linears over some rows of tokens, on the backend's device and just as the
// products get them: float32, or bfloat16 where a model of that type is computed in it.
struct LayerInputs {
  at::Tensor qkv;      // [n, d], normalised
  at::Tensor o;        // [n, query rows]
  at::Tensor gate_up;  // [n, d], normalised
  at::Tensor down;     // [n, channels]
};
// Called with consecutive rows, in order. Tensors are valid during the call only.
using LayerObserver = std::function<void(const LayerInputs&)>;

// The dense model's predictions p of some rows, as far as a divergence from them needs to know.
// With a model's logits z = E h, the cross term of KL(p ‖ softmax z) is Σ_v p_v z_v = h · Σ_v p_v
// E_v: one vector a row, so that a divergence costs no more than a loss.
struct DenseRows {
  at::Tensor expected;  // [rows, d] float32: Σ_v p_v E_v
  at::Tensor entropy;   // [rows] float32: −Σ_v p_v ln p_v
};

// Sums over the predictions of one sequence: −ln p of the tokens, and KL(dense ‖ subnet) if asked.
struct LossSums {
  double nll = 0;
  double kl = 0;
};

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

  // RunLayer in two halves, for a selection with one module: what its output linear (o or down)
  // gets, [count · T, k] in the type of LayerInputs; and x += output(inner).
  virtual at::Tensor Inner(const ResidentModel& model, int64_t layer,
                           const LayerSelection& selection, int64_t sequences, int64_t length,
                           const at::Tensor& x) = 0;
  virtual void AddOutput(const ResidentModel& model, int64_t layer, const LayerSelection& selection,
                         const at::Tensor& inner, at::Tensor* x) = 0;
  // Whether a caller that needs Inner twice had better keep it: a CPU has the memory and lacks the
  // speed, a GPU has it the other way round.
  virtual bool KeepsInner() const = 0;

  // Of each sequence's tokens 1 … T − 1, after a final norm with these weights ([d] float32) and
  // the head; never holds a [rows, V] tensor. `dense` (may be null) has the dense model's
  // predictions of the same rows.
  virtual std::vector<LossSums> Losses(const ResidentModel& model, const at::Tensor& final_norm,
                                       const at::Tensor& x, const int32_t* tokens,
                                       int64_t sequences, int64_t length,
                                       const DenseRows* dense) = 0;

  // The model's own predictions after its last layer, for Losses of others. Holds 128 rows' logits
  // a thread.
  virtual DenseRows Predictions(const ResidentModel& model, const at::Tensor& x) = 0;

  // gram += inputᵀ · input for input [n, k], float32 or bfloat16, and gram [k, k] float32. Products
  // of bfloat16 are exact, sums float32: it costs less and loses nothing. Only the blocks on and
  // above the diagonal need be right until FinishGram.
  virtual void AccumulateGram(const at::Tensor& input, at::Tensor* gram) = 0;
  // Completes the part below the diagonal by symmetry.
  virtual void FinishGram(at::Tensor* gram) = 0;
  // product += leftᵀ · right for left [n, k] and right [n, m], both float32 or both bfloat16, and
  // product [k, m] float32.
  virtual void AccumulateProduct(const at::Tensor& left, const at::Tensor& right,
                                 at::Tensor* product) = 0;

  // Largest number of bytes held in gathered layers, and in activations, so far.
  virtual int64_t scratch_bytes() const = 0;
  virtual int64_t activation_bytes() const = 0;
};

// Backend::Predictions of a few rows, in plain libtorch operations on the calling thread; holds
// their logits.
DenseRows PredictRows(const ResidentModel& model, const at::Tensor& x);

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
