#include "worker/engine/cpu_sums.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace espalier {
namespace {

constexpr int64_t kFloatTile = 256;
constexpr int64_t kTile = PackedMatrix::kMostRows;
constexpr int64_t kBlocksPerTile = kTile / PackedMatrix::kColumns;
constexpr int64_t kRowsAtOnce = 4096;  // of bfloat16 inputs, copied to be multiplied
constexpr int64_t kStrip = 32;         // columns that are transposed together

// body(row, column) for the tiles' first elements.
template <typename Body>
void ForTiles(ThreadPool* pool, int64_t tile, const at::Tensor& product, bool upper, Body body) {
  const int64_t down = (product.size(0) + tile - 1) / tile;
  const int64_t across = (product.size(1) + tile - 1) / tile;
  pool->ParallelFor(down * across, [&](int64_t item, int) {
    const int64_t i = item / across;
    const int64_t j = item % across;
    if (!upper || i <= j) body(i * tile, j * tile);
  });
}

}  // namespace

void CpuSums::AccumulateGram(const at::Tensor& input, at::Tensor* gram) {
  Add(input, input, Part::kUpper, gram);
}

void CpuSums::AccumulateProduct(const at::Tensor& left, const at::Tensor& right,
                                at::Tensor* product) {
  Add(left, right, Part::kAll, product);
}

void CpuSums::FinishGram(at::Tensor* gram) {
  const int64_t k = gram->size(0);
  auto* g = gram->data_ptr<float>();
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < i; ++j) g[i * k + j] = g[j * k + i];
  }
}

void CpuSums::Add(const at::Tensor& left, const at::Tensor& right, Part part, at::Tensor* product) {
  if (left.scalar_type() == at::kFloat) return AddFloat(left, right, part, product);
  for (int64_t first = 0; first < left.size(0); first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, left.size(0) - first);
    const at::Tensor some_left = left.narrow(0, first, count);
    const at::Tensor some_right = right.narrow(0, first, count);
    if (multiplies_bfloat16_) {
      AddBFloat16(some_left, some_right, part, product);
    } else {
      AddFloat(Widened(some_left), Widened(some_right), part, product);
    }
  }
}

void CpuSums::AddFloat(const at::Tensor& left, const at::Tensor& right, Part part,
                       at::Tensor* product) {
  ForTiles(pool_, kFloatTile, *product, part == Part::kUpper, [&](int64_t i, int64_t j) {
    const int64_t height = std::min(kFloatTile, product->size(0) - i);
    const int64_t width = std::min(kFloatTile, product->size(1) - j);
    at::Tensor block = product->narrow(0, i, height).narrow(1, j, width);
    at::addmm_out(block, block, left.narrow(1, i, height).t(), right.narrow(1, j, width));
  });
}

at::Tensor CpuSums::Widened(const at::Tensor& matrix) {
  at::Tensor wide = at::empty(matrix.sizes(), at::kFloat);
  const int64_t rows = matrix.size(0);
  pool_->ParallelFor((rows + kTile - 1) / kTile, [&](int64_t tile, int) {
    const int64_t first = tile * kTile;
    const int64_t count = std::min(kTile, rows - first);
    wide.narrow(0, first, count).copy_(matrix.narrow(0, first, count));
  });
  return wide;
}

void CpuSums::Transpose(const at::Tensor& input, int64_t stride) {
  const int64_t n = input.size(0);
  const int64_t k = input.size(1);
  if (!left_.defined() || left_.numel() < k * stride) {
    left_ = at::Tensor();  // release before taking the larger one
    left_ = at::empty({k * stride}, at::kBFloat16);
  }
  const auto* in = static_cast<const BFloat16Bits*>(input.data_ptr());
  auto* out = static_cast<BFloat16Bits*>(left_.data_ptr());
  pool_->ParallelFor((k + kStrip - 1) / kStrip, [&](int64_t item, int) {
    const int64_t first = item * kStrip;
    const int64_t end = std::min(k, first + kStrip);
    for (int64_t row0 = 0; row0 < n; row0 += kStrip) {
      const int64_t rows = std::min(kStrip, n - row0);
      for (int64_t column = first; column < end; ++column) {
        BFloat16Bits* target = out + column * stride + row0;
        for (int64_t i = 0; i < rows; ++i) target[i] = in[(row0 + i) * k + column];
      }
    }
    for (int64_t column = first; column < end; ++column) {
      std::fill(out + column * stride + n, out + (column + 1) * stride, BFloat16Bits{0});
    }
  });
}

void CpuSums::AddBFloat16(const at::Tensor& left, const at::Tensor& right, Part part,
                          at::Tensor* product) {
  const int64_t k = left.size(1);
  const int64_t m = right.size(1);
  const auto* in = static_cast<const BFloat16Bits*>(right.data_ptr());
  std::vector<const void*> rows(right.size(0));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = in + static_cast<int64_t>(i) * m;
  right_.PackColumns(rows, at::kBFloat16, m, ComputeType::kBFloat16, *kernels_, pool_);
  const int64_t stride = right_.padded_k();
  Transpose(left, stride);
  const auto* transposed = static_cast<const BFloat16Bits*>(left_.data_ptr());
  auto* sums = product->data_ptr<float>();
  ForTiles(pool_, kTile, *product, part == Part::kUpper, [&](int64_t i, int64_t j) {
    const int64_t first = j / PackedMatrix::kColumns;
    const int64_t end = std::min(right_.blocks(), first + kBlocksPerTile);
    for (int64_t block = first; block < end; ++block) {
      right_.AddBlock(transposed + i * stride, stride, std::min(kTile, k - i), block, sums + i * m,
                      m);
    }
  });
}

int64_t CpuSums::bytes() const {
  return right_.bytes() + (left_.defined() ? static_cast<int64_t>(left_.nbytes()) : 0);
}

}  // namespace espalier
