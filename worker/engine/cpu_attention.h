// Causal attention of one layer on the CPU, in float32, for sequences whose queries, keys and
// values come tile by tile from the projections. Each KV group has its own head width.
//
// Per (sequence, group, tile of query positions) the group's r heads are stacked into one matrix,
// so that keys and values are read once for all of them; scores exist for 512 keys at a time
// (online softmax, Milakov & Gimelshein 2018), and blocks above the diagonal are never computed.
#ifndef ESPALIER_WORKER_ENGINE_CPU_ATTENTION_H_
#define ESPALIER_WORKER_ENGINE_CPU_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "common/model_config.h"
#include "worker/engine/backend.h"
#include "worker/engine/cpu_kernels.h"
#include "worker/engine/packed_matrix.h"

namespace espalier {

class CpuAttention {
 public:
  // A sequence takes the memory of a multiple of this many positions, at most.
  static constexpr int64_t kPaddedTo = 128;

  CpuAttention(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // Prepares buffers for `sequences` × `length` positions of one layer's selection.
  void Begin(const ModelConfig& config, const LayerSelection& selection, const RotaryTable& rotary,
             int64_t sequences, int64_t length);

  // Columns of one row of projections: queries of all kept heads, keys, values.
  int64_t query_columns() const { return query_columns_; }
  int64_t key_columns() const { return key_columns_; }

  // Takes the projections of one position (query_columns + 2 · key_columns floats) and rotates
  // them. Different positions may be given by different threads at once.
  void SetRow(int64_t sequence, int64_t position, const float* projections);

  // Writes the heads' outputs, row-major [sequences · length][stride] of `type`; columns from
  // query_columns() to `stride` become zero.
  void Run(ComputeType type, void* out, int64_t stride);

  int64_t bytes() const;

 private:
  struct Group {
    int64_t width = 0;           // 2 n_g
    int64_t padded = 0;          // to a multiple of 16
    int64_t query_column = 0;    // first one, in projections and in the output
    int64_t key_column = 0;      // within keys, and within values
    float* queries = nullptr;    // [sequence][tile][r][tile rows][padded]
    float* keys = nullptr;       // [sequence][key block][padded][64]
    float* values = nullptr;     // [sequence][key blocks · 64][padded]
    const float* cos = nullptr;  // [length][n_g]
    const float* sin = nullptr;
  };

  void RunTile(const Group& group, int64_t sequence, int64_t tile, ComputeType type, void* out,
               int64_t stride, float* scratch) const;
  void LayOutRotary(const LayerSelection& selection, const RotaryTable& rotary);
  float* Reserve(at::Tensor* buffer, int64_t floats, bool zero);

  const CpuKernels* kernels_;
  ThreadPool* pool_;
  std::vector<Group> groups_;
  int64_t heads_ = 1;  // r, of a group
  float scale_ = 1;
  int64_t sequences_ = 0;
  int64_t length_ = 0;
  int64_t tile_rows_ = 0;
  int64_t tiles_ = 0;
  int64_t key_blocks_ = 0;
  int64_t query_columns_ = 0;
  int64_t key_columns_ = 0;
  int64_t max_padded_ = 0;
  at::Tensor buffer_;
  at::Tensor rotary_buffer_;
  at::Tensor scratch_;
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_CPU_ATTENTION_H_
