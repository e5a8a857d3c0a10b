#include "worker/engine/cpu_bfloat16_gram.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace espalier {
namespace {

constexpr int64_t kTile = PackedMatrix::kMostRows;
constexpr int64_t kBlocksPerTile = kTile / PackedMatrix::kColumns;
constexpr int64_t kRowsAtOnce = 4096;  // of the input, packed and transposed
constexpr int64_t kStrip = 32;         // columns of the input that are transposed together

}  // namespace

void CpuBFloat16Gram::Transpose(const at::Tensor& input, int64_t stride) {
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

void CpuBFloat16Gram::Accumulate(const at::Tensor& input, at::Tensor* gram) {
  for (int64_t first = 0; first < input.size(0); first += kRowsAtOnce) {
    AddRows(input.narrow(0, first, std::min(kRowsAtOnce, input.size(0) - first)), gram);
  }
}

void CpuBFloat16Gram::AddRows(const at::Tensor& input, at::Tensor* gram) {
  const int64_t n = input.size(0);
  const int64_t k = input.size(1);
  const auto* in = static_cast<const BFloat16Bits*>(input.data_ptr());
  std::vector<const void*> rows(n);
  for (int64_t i = 0; i < n; ++i) rows[i] = in + i * k;
  right_.PackColumns(rows, at::kBFloat16, k, ComputeType::kBFloat16, *kernels_, pool_);
  const int64_t stride = right_.padded_k();
  Transpose(input, stride);
  const auto* left = static_cast<const BFloat16Bits*>(left_.data_ptr());
  auto* sums = gram->data_ptr<float>();
  const int64_t tiles = (k + kTile - 1) / kTile;
  pool_->ParallelFor(tiles * tiles, [&](int64_t item, int) {
    const int64_t i = item / tiles;
    const int64_t j = item % tiles;
    if (j < i) return;
    const int64_t row0 = i * kTile;
    const int64_t end = std::min(right_.blocks(), (j + 1) * kBlocksPerTile);
    for (int64_t block = j * kBlocksPerTile; block < end; ++block) {
      right_.AddBlock(left + row0 * stride, stride, std::min(kTile, k - row0), block,
                      sums + row0 * k, k);
    }
  });
}

int64_t CpuBFloat16Gram::bytes() const {
  return right_.bytes() + (left_.defined() ? static_cast<int64_t>(left_.nbytes()) : 0);
}

}  // namespace espalier
