// Sums over tokens on the CPU: Gram matrices, and products of inputs with targets.
#ifndef ESPALIER_WORKER_ENGINE_CPU_SUMS_H_
#define ESPALIER_WORKER_ENGINE_CPU_SUMS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "worker/engine/cpu_kernels.h"
#include "worker/engine/packed_matrix.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// What is added to an element, and in which order, does not depend on the number of threads. One
// call at a time.
class CpuSums {
 public:
  CpuSums(const CpuKernels* kernels, ThreadPool* pool) : kernels_(kernels), pool_(pool) {}

  // As in Backend; tensors are contiguous. bfloat16 is multiplied by the block kernel of the
  // layers' products where that is nearly twice as fast as float32 (BestTypeForBFloat16).
  void AccumulateGram(const at::Tensor& input, at::Tensor* gram);
  static void FinishGram(at::Tensor* gram);
  void AccumulateProduct(const at::Tensor& left, const at::Tensor& right, at::Tensor* product);

  int64_t bytes() const;

 private:
  // The whole product, or of a Gram matrix the tiles on and above the diagonal.
  enum class Part { kAll, kUpper };
  void Add(const at::Tensor& left, const at::Tensor& right, Part part, at::Tensor* product);
  void AddFloat(const at::Tensor& left, const at::Tensor& right, Part part, at::Tensor* product);
  void AddBFloat16(const at::Tensor& left, const at::Tensor& right, Part part, at::Tensor* product);
  at::Tensor Widened(const at::Tensor& matrix);
  void Transpose(const at::Tensor& input, int64_t stride);

  const CpuKernels* kernels_;
  ThreadPool* pool_;
  const bool multiplies_bfloat16_ = BestTypeForBFloat16() == ComputeType::kBFloat16;
  PackedMatrix right_;  // some rows of a bfloat16 right side
  at::Tensor left_;     // [k][padded n]: those of the left one, transposed
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_CPU_SUMS_H_
