#include "worker/engine/cpu_loss.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace espalier {
namespace {

constexpr int64_t kRowsAtOnce = 4096;
constexpr int64_t kTileRows = 128;
constexpr int64_t kChunk = 512;  // of the vocabulary

void Ensure(at::Tensor* buffer, int64_t bytes) {
  if (buffer->defined() && static_cast<int64_t>(buffer->nbytes()) >= bytes) return;
  *buffer = at::Tensor();
  *buffer = at::empty({bytes}, at::kByte);
}

float* Floats(const at::Tensor& buffer) { return static_cast<float*>(buffer.data_ptr()); }

}  // namespace

int64_t CpuLoss::packed_bytes() const {
  int64_t total = 0;
  for (const PackedMatrix& packed : packed_) total += packed.bytes();
  return total;
}

int64_t CpuLoss::bytes() const {
  int64_t total = 0;
  for (const at::Tensor* buffer : {&normalised_, &scratch_, &partial_, &target_logits_}) {
    if (buffer->defined()) total += static_cast<int64_t>(buffer->nbytes());
  }
  return total;
}

std::vector<double> CpuLoss::Run(const ResidentModel& model, ComputeType type, const at::Tensor& x,
                                 const int32_t* tokens, int64_t sequences, int64_t length) {
  // The last row of a sequence predicts nothing; its target is a placeholder, its loss unused.
  const int64_t rows = sequences * length;
  std::vector<int32_t> targets(rows);
  for (int64_t i = 0; i < rows; ++i) targets[i] = (i + 1) % length == 0 ? 0 : tokens[i + 1];
  std::vector<float> nll(rows);
  const int64_t d = model.config.hidden_size;
  for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
    RunRows(model, type, x.data_ptr<float>() + row * d, std::min(kRowsAtOnce, rows - row),
            targets.data() + row, nll.data() + row);
  }
  std::vector<double> sums(sequences, 0.0);
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = 0; i + 1 < length; ++i) sums[s] += nll[s * length + i];
  }
  return sums;
}

void CpuLoss::RunRows(const ResidentModel& model, ComputeType type, const float* x, int64_t count,
                      const int32_t* targets, float* nll) {
  const int64_t d = model.config.hidden_size;
  const int64_t stride = PackedMatrix::PaddedK(d);
  const int64_t chunks = (model.config.vocab_size + kChunk - 1) / kChunk;
  packed_.resize(pool_->threads());
  Ensure(&normalised_, count * stride * ComputeSize(type));
  Ensure(&scratch_, pool_->threads() * (kTileRows * kChunk + stride) * 4);
  Ensure(&partial_, chunks * count * 2 * 4);
  Ensure(&target_logits_, count * 4);

  const float* weight = model.final_norm.data_ptr<float>();
  const auto eps = static_cast<float>(model.config.rms_norm_eps);
  pool_->ParallelFor((count + kTileRows - 1) / kTileRows, [&](int64_t tile, int thread) {
    float* row_out = Floats(scratch_) + thread * (kTileRows * kChunk + stride);
    std::fill(row_out, row_out + stride, 0.0f);
    const int64_t end = std::min(count, (tile + 1) * kTileRows);
    for (int64_t i = tile * kTileRows; i < end; ++i) {
      kernels_->rms_norm(x + i * d, weight, eps, d, row_out);
      if (type == ComputeType::kFloat32) {
        std::memcpy(Floats(normalised_) + i * stride, row_out, stride * 4);
      } else {
        kernels_->to_bfloat16(row_out, stride,
                              static_cast<BFloat16Bits*>(normalised_.data_ptr()) + i * stride);
      }
    }
  });
  pool_->ParallelFor(chunks, [&](int64_t chunk, int thread) {
    RunChunk(model, type, chunk, count, targets, thread);
  });

  const float* partial = Floats(partial_);
  const float* logits = Floats(target_logits_);
  pool_->ParallelFor((count + kTileRows - 1) / kTileRows, [&](int64_t tile, int) {
    const int64_t end = std::min(count, (tile + 1) * kTileRows);
    for (int64_t i = tile * kTileRows; i < end; ++i) {
      float max = partial[2 * i];
      for (int64_t c = 1; c < chunks; ++c) max = std::max(max, partial[2 * (c * count + i)]);
      double sum = 0;
      for (int64_t c = 0; c < chunks; ++c) {
        const float* part = partial + 2 * (c * count + i);
        sum += static_cast<double>(part[1]) * std::exp(static_cast<double>(part[0] - max));
      }
      nll[i] = static_cast<float>(std::log(sum) + max - logits[i]);
    }
  });
}

void CpuLoss::RunChunk(const ResidentModel& model, ComputeType type, int64_t chunk, int64_t count,
                       const int32_t* targets, int thread) {
  const int64_t d = model.config.hidden_size;
  const int64_t stride = PackedMatrix::PaddedK(d);
  const int64_t first = chunk * kChunk;
  const int64_t columns = std::min(kChunk, model.config.vocab_size - first);
  std::vector<const void*> rows(columns);
  const char* head = static_cast<const char*>(model.head.data_ptr());
  const auto row_bytes = static_cast<int64_t>(model.head.element_size()) * d;
  for (int64_t j = 0; j < columns; ++j) rows[j] = head + (first + j) * row_bytes;
  PackedMatrix& packed = packed_[thread];
  packed.PackRowsSerially(rows, model.type, d, type, *kernels_);

  float* tile_logits = Floats(scratch_) + thread * (kTileRows * kChunk + stride);
  float* partial = Floats(partial_) + chunk * count * 2;
  float* target_logits = Floats(target_logits_);
  for (int64_t row0 = 0; row0 < count; row0 += kTileRows) {
    const int64_t m = std::min(kTileRows, count - row0);
    const char* a =
        static_cast<const char*>(normalised_.data_ptr()) + row0 * stride * ComputeSize(type);
    for (int64_t block = 0; block < packed.blocks(); ++block) {
      packed.MultiplyBlock(a, stride, m, block, tile_logits + block * PackedMatrix::kColumns,
                           kChunk, false);
    }
    for (int64_t i = 0; i < m; ++i) {
      const float* logits = tile_logits + i * kChunk;
      float* part = partial + 2 * (row0 + i);
      kernels_->log_sum_exp(logits, columns, part, part + 1);
      const int64_t target = targets[row0 + i] - first;
      if (target >= 0 && target < columns) target_logits[row0 + i] = logits[target];
    }
  }
}

}  // namespace espalier
