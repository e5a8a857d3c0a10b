// The loss on the CPU: final norm, head and cross entropy in blocks of rows and vocabulary.
#ifndef ESPALIER_WORKER_ENGINE_CPU_LOSS_H_
#define ESPALIER_WORKER_ENGINE_CPU_LOSS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/engine/backend.h"
#include "worker/engine/cpu_kernels.h"
#include "worker/engine/packed_matrix.h"
#include "worker/engine/resident_model.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

class CpuLoss {
 public:
  CpuLoss(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // As Backend::Losses, multiplying in `type`.
  std::vector<LossSums> Run(const ResidentModel& model, ComputeType type,
                            const at::Tensor& final_norm, const at::Tensor& x,
                            const int32_t* tokens, int64_t sequences, int64_t length,
                            const DenseRows* dense);

  int64_t packed_bytes() const;
  int64_t bytes() const;

 private:
  // Some rows, one after another. The target of row i is targets[i].
  struct Rows {
    const float* norm = nullptr;  // weights of the final norm
    const float* x = nullptr;
    int64_t count = 0;
    const int32_t* targets = nullptr;
    const float* expected = nullptr;  // of DenseRows; null: no divergence
    const float* entropy = nullptr;
    float* nll = nullptr;
    float* kl = nullptr;
  };
  void RunRows(const ResidentModel& model, ComputeType type, const Rows& rows);
  void Normalise(const ResidentModel& model, ComputeType type, const Rows& rows);
  void Finish(const Rows& rows, int64_t chunks);
  void RunChunk(const ResidentModel& model, ComputeType type, int64_t chunk, int64_t count,
                const int32_t* targets, int thread);

  const CpuKernels* kernels_;
  ThreadPool* pool_;
  std::vector<PackedMatrix> packed_;  // of each thread
  at::Tensor normalised_;             // [rows][padded d] of the compute type
  at::Tensor scratch_;                // [threads][...]
  at::Tensor partial_;                // [chunks][rows][max, sum]
  at::Tensor target_logits_;          // [rows]
  at::Tensor expected_logits_;        // [rows]
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_CPU_LOSS_H_
