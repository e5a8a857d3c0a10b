#include "worker/engine/packed_matrix.h"

#include <ATen/native/CPUBlas.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace espalier {
namespace {

// Rows of B multiplied at a time: a block of 512 · 64 floats stays in the second-level cache.
constexpr int64_t kDepth = 512;

// Whether libtorch has its block kernel for Element on this machine: it throws where it has not.
template <typename Element>
bool ProbeBlockKernel() {
#if defined(CPUBLAS_BRGEMM_F32F32F32) && defined(CPUBLAS_BRGEMM_BF16BF16F32)
  constexpr size_t kSize = 16;
  const std::vector<Element> a(kSize * kSize, Element(1));
  const std::vector<Element> b(kSize * 64, Element(1));
  std::vector<float> c(kSize * 64, 0);
  try {
    at::native::cpublas::brgemm(kSize, 64, kSize, kSize, 64, 64, false, a.data(), b.data(),
                                c.data(), sizeof(Element) == 2);
  } catch (const std::exception&) {
    return false;
  }
  return c.front() == float{kSize} && c.back() == float{kSize};
#else
  return false;
#endif
}

bool HasFloatKernel() {
  static const bool has = ProbeBlockKernel<float>();
  return has;
}

bool HasBFloat16Kernel() {
  static const bool has = ProbeBlockKernel<at::BFloat16>();
  return has;
}

// [m, n] view of raw memory for libtorch's general product, where the block kernels are missing.
at::Tensor View(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1}, at::kFloat);
}

}  // namespace

ComputeType BestTypeForBFloat16() {
#if defined(__x86_64__)
  if (!HasBFloat16Kernel()) return ComputeType::kFloat32;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1))
    return ComputeType::kBFloat16;  // AMX
  // Without AMX, Intel's AVX512-BF16 does as many multiplications a cycle as float32 does; AMD's
  // does twice as many.
  char vendor[13] = {};
  if (__get_cpuid(0, &a, &b, &c, &d)) {
    std::memcpy(vendor, &b, 4);
    std::memcpy(vendor + 4, &d, 4);
    std::memcpy(vendor + 8, &c, 4);
  }
  if (std::strcmp(vendor, "GenuineIntel") == 0) return ComputeType::kFloat32;
  return ComputeType::kBFloat16;
#else
  return ComputeType::kFloat32;
#endif
}

char* PackedMatrix::Block(int64_t block) const {
  return static_cast<char*>(storage_.data_ptr()) +
         block * padded_k_ * kColumns * ComputeSize(type_);
}

void PackedMatrix::Reserve(int64_t k, int64_t n, ComputeType type) {
  type_ = type;
  columns_ = n;
  blocks_ = (n + kColumns - 1) / kColumns;
  padded_k_ = PaddedK(k);
  const int64_t bytes = blocks_ * padded_k_ * kColumns * ComputeSize(type);
  if (!storage_.defined() || static_cast<int64_t>(storage_.nbytes()) < bytes) {
    storage_ = at::Tensor();  // release before taking the larger one
    storage_ = at::empty({bytes}, at::kByte);
  }
}

void PackedMatrix::PackRowBlock(const std::vector<const void*>& rows, at::ScalarType source,
                                int64_t k, const CpuKernels& kernels, int64_t block) {
  const int64_t first = block * kColumns;
  const int64_t count = std::min<int64_t>(kColumns, columns_ - first);
  TORCH_CHECK(source != at::kFloat || type_ == ComputeType::kFloat32,
              "float32 rows cannot be packed for products in bfloat16");
  char* target = Block(block);
  const uint32_t* pointers[kColumns] = {};
  if (source == at::kFloat || type_ == ComputeType::kBFloat16) {
    // Two bfloat16 neighbours move as one word, which is just the interleaving wanted.
    const int64_t words = source == at::kFloat ? k : k / 2;
    for (int64_t j = 0; j < count; ++j) pointers[j] = static_cast<const uint32_t*>(rows[first + j]);
    kernels.transpose64(pointers, count, words, reinterpret_cast<uint32_t*>(target));
    const int64_t padded = source == at::kFloat ? padded_k_ : padded_k_ / 2;
    std::memset(target + words * kColumns * 4, 0, (padded - words) * kColumns * 4);
    if (source != at::kFloat && k % 2 != 0) {  // the last element, alone in its word
      auto* last = reinterpret_cast<BFloat16Bits*>(target) + words * kColumns * 2;
      for (int64_t j = 0; j < count; ++j) {
        const auto* row = static_cast<const BFloat16Bits*>(rows[first + j]);
        if (row != nullptr) last[2 * j] = row[k - 1];
      }
    }
    return;
  }
  // bfloat16 weights, multiplied in float32: widened strip by strip.
  constexpr int64_t kStrip = 128;
  float widened[kColumns][kStrip];
  for (int64_t k0 = 0; k0 < k; k0 += kStrip) {
    const int64_t strip = std::min(kStrip, k - k0);
    for (int64_t j = 0; j < count; ++j) {
      const auto* row = static_cast<const BFloat16Bits*>(rows[first + j]);
      pointers[j] = row == nullptr ? nullptr : reinterpret_cast<const uint32_t*>(widened[j]);
      if (row != nullptr) kernels.from_bfloat16(row + k0, strip, widened[j]);
    }
    kernels.transpose64(pointers, count, strip,
                        reinterpret_cast<uint32_t*>(target) + k0 * kColumns);
  }
  std::memset(target + k * kColumns * 4, 0, (padded_k_ - k) * kColumns * 4);
}

void PackedMatrix::PackRows(const std::vector<const void*>& rows, at::ScalarType source, int64_t k,
                            ComputeType type, const CpuKernels& kernels, ThreadPool* pool) {
  Reserve(k, static_cast<int64_t>(rows.size()), type);
  pool->ParallelFor(blocks_,
                    [&](int64_t block, int) { PackRowBlock(rows, source, k, kernels, block); });
}

void PackedMatrix::PackRowsSerially(const std::vector<const void*>& rows, at::ScalarType source,
                                    int64_t k, ComputeType type, const CpuKernels& kernels) {
  Reserve(k, static_cast<int64_t>(rows.size()), type);
  for (int64_t block = 0; block < blocks_; ++block) PackRowBlock(rows, source, k, kernels, block);
}

void PackedMatrix::PackColumns(const std::vector<const void*>& rows, at::ScalarType source,
                               int64_t n, ComputeType type, const CpuKernels& kernels,
                               ThreadPool* pool) {
  const auto k = static_cast<int64_t>(rows.size());
  Reserve(k, n, type);
  pool->ParallelFor(blocks_, [&](int64_t block, int) {
    const int64_t first = block * kColumns;
    const int64_t count = std::min<int64_t>(kColumns, n - first);
    char* target = Block(block);
    if (count < kColumns || padded_k_ > k) {
      std::memset(target, 0, padded_k_ * kColumns * ComputeSize(type));
    }
    BFloat16Bits narrowed[2][kColumns];
    const auto bfloat16_row = [&](int64_t row) -> const BFloat16Bits* {
      static constexpr BFloat16Bits kZeros[kColumns] = {};
      if (row >= k) return kZeros;
      if (source != at::kFloat) return static_cast<const BFloat16Bits*>(rows[row]) + first;
      // Reformed weights, in a model of bfloat16.
      kernels.to_bfloat16(static_cast<const float*>(rows[row]) + first, count, narrowed[row % 2]);
      return narrowed[row % 2];
    };
    for (int64_t i = 0; i < k; ++i) {
      if (type == ComputeType::kBFloat16) {
        if (i % 2 != 0) continue;
        kernels.interleave(bfloat16_row(i), bfloat16_row(i + 1), count,
                           reinterpret_cast<BFloat16Bits*>(target) + i * kColumns);
      } else if (source == at::kFloat) {
        std::memcpy(target + i * kColumns * 4, static_cast<const float*>(rows[i]) + first,
                    count * 4);
      } else {
        kernels.from_bfloat16(static_cast<const BFloat16Bits*>(rows[i]) + first, count,
                              reinterpret_cast<float*>(target) + i * kColumns);
      }
    }
  });
}

void PackedMatrix::MultiplyBlock(const void* a, int64_t lda, int64_t m, int64_t block, float* c,
                                 int64_t ldc, bool accumulate) const {
  for (int64_t k0 = 0; k0 < padded_k_; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, padded_k_ - k0);
    const bool add = accumulate || k0 > 0;
    if (type_ == ComputeType::kFloat32) {
      const auto* b = reinterpret_cast<const float*>(Block(block)) + k0 * kColumns;
      MultiplyFloat(m, kColumns, depth, static_cast<const float*>(a) + k0, lda, b, kColumns, c, ldc,
                    add);
      continue;
    }
#if defined(CPUBLAS_BRGEMM_BF16BF16F32)
    const auto* b = reinterpret_cast<const at::BFloat16*>(Block(block)) + k0 * kColumns;
    at::native::cpublas::brgemm(m, kColumns, depth, lda, kColumns, ldc, add,
                                static_cast<const at::BFloat16*>(a) + k0, b, c, true);
#endif
  }
}

void PackedMatrix::AddBlock(const void* a, int64_t lda, int64_t m, int64_t block, float* c,
                            int64_t ldc) const {
  const int64_t column = block * kColumns;
  if (column + kColumns <= columns_) {
    return MultiplyBlock(a, lda, m, block, c + column, ldc, true);
  }
  float product[kMostRows * kColumns];
  MultiplyBlock(a, lda, m, block, product, kColumns, false);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = column; j < columns_; ++j) {
      c[i * ldc + j] += product[i * kColumns + j - column];
    }
  }
}

void MultiplyFloat(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                   int64_t ldb, float* c, int64_t ldc, bool accumulate) {
#if defined(CPUBLAS_BRGEMM_F32F32F32)
  if (HasFloatKernel()) {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c, false);
    return;
  }
#endif
  at::Tensor out = View(c, m, n, ldc);
  if (accumulate) {
    at::addmm_out(out, out, View(a, m, k, lda), View(b, k, n, ldb));
  } else {
    at::mm_out(out, View(a, m, k, lda), View(b, k, n, ldb));
  }
}

}  // namespace espalier
