// The right-hand side of a matrix product, laid out for the CPU's block kernels.
//
// A layer's weights are gathered straight into this layout, so that picking a subnet's rows and
// columns costs no pass of its own. For C[m, n] = A[m, k] · B[k, n], B is stored in blocks of 64
// columns: float32 [n/64][k][64]; bfloat16 [n/64][k/2][64][2], two rows interleaved as dot-product
// instructions want them. k and n are padded with zeros.
#ifndef ESPALIER_WORKER_ENGINE_PACKED_MATRIX_H_
#define ESPALIER_WORKER_ENGINE_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/engine/cpu_kernels.h"
#include "worker/engine/thread_pool.h"

namespace espalier {

// The type that products are computed in; sums are float32 always.
enum class ComputeType { kFloat32, kBFloat16 };
inline int64_t ComputeSize(ComputeType type) { return type == ComputeType::kFloat32 ? 4 : 2; }

// What to multiply bfloat16 weights in on this processor: bfloat16 where its matrix instructions
// beat float32, else float32 (each weight is widened as it is gathered).
ComputeType BestTypeForBFloat16();

class PackedMatrix {
 public:
  static constexpr int64_t kColumns = 64;    // of a block
  static constexpr int64_t kMostRows = 128;  // that AddBlock takes
  // k is padded to a multiple of this, so that few kernel shapes occur.
  static constexpr int64_t kPadK = 16;
  static int64_t PaddedK(int64_t k) { return (k + kPadK - 1) / kPadK * kPadK; }

  // B = Wᵀ, W given by its rows (null: zeros) of k elements each, float32 or bfloat16 by `source`.
  // Memory is kept from call to call.
  void PackRows(const std::vector<const void*>& rows, at::ScalarType source, int64_t k,
                ComputeType type, const CpuKernels& kernels, ThreadPool* pool);
  // B from its rows: row i of B is rows[i], n elements each.
  void PackColumns(const std::vector<const void*>& rows, at::ScalarType source, int64_t n,
                   ComputeType type, const CpuKernels& kernels, ThreadPool* pool);
  // As PackRows, on the calling thread.
  void PackRowsSerially(const std::vector<const void*>& rows, at::ScalarType source, int64_t k,
                        ComputeType type, const CpuKernels& kernels);

  // c[m, 64] (row stride ldc) = or += a[m, k] (row stride lda, k padded with zeros) · block.
  void MultiplyBlock(const void* a, int64_t lda, int64_t m, int64_t block, float* c, int64_t ldc,
                     bool accumulate) const;

  // As MultiplyBlock for m ≤ kMostRows and a c with all columns(), of which it adds to the block's
  // own: a last block that is not full does not spill into the next row.
  void AddBlock(const void* a, int64_t lda, int64_t m, int64_t block, float* c, int64_t ldc) const;

  int64_t blocks() const { return blocks_; }
  int64_t padded_k() const { return padded_k_; }
  int64_t columns() const { return columns_; }
  int64_t bytes() const { return static_cast<int64_t>(storage_.defined() ? storage_.nbytes() : 0); }

 private:
  void Reserve(int64_t k, int64_t n, ComputeType type);
  void PackRowBlock(const std::vector<const void*>& rows, at::ScalarType source, int64_t k,
                    const CpuKernels& kernels, int64_t block);
  char* Block(int64_t block) const;

  at::Tensor storage_;
  ComputeType type_ = ComputeType::kFloat32;
  int64_t blocks_ = 0;
  int64_t padded_k_ = 0;
  int64_t columns_ = 0;
};

// c[m, n] (row stride ldc) = or += a[m, k] · b[k, n], float32, row strides lda and ldb.
void MultiplyFloat(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                   int64_t ldb, float* c, int64_t ldc, bool accumulate);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_PACKED_MATRIX_H_
