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
  for (const at::Tensor* buffer :
       {&normalised_, &scratch_, &partial_, &target_logits_, &expected_logits_}) {
    if (buffer->defined()) total += static_cast<int64_t>(buffer->nbytes());
  }
  return total;
}

std::vector<LossSums> CpuLoss::Run(const ResidentModel& model, ComputeType type,
                                   const at::Tensor& final_norm, const at::Tensor& x,
                                   const int32_t* tokens, int64_t sequences, int64_t length,
                                   const DenseRows* dense) {
  // The last row of a sequence predicts nothing; its target is a placeholder, its loss unused.
  const int64_t rows = sequences * length;
  std::vector<int32_t> targets(rows);
  for (int64_t i = 0; i < rows; ++i) targets[i] = (i + 1) % length == 0 ? 0 : tokens[i + 1];
  std::vector<float> nll(rows);
  std::vector<float> kl(dense == nullptr ? 0 : rows);
  const int64_t d = model.config.hidden_size;
  for (int64_t row = 0; row < rows; row += kRowsAtOnce) {
    Rows part{.norm = final_norm.data_ptr<float>(),
              .x = x.data_ptr<float>() + row * d,
              .count = std::min(kRowsAtOnce, rows - row),
              .targets = targets.data() + row,
              .nll = nll.data() + row};
    if (dense != nullptr) {
      part.expected = dense->expected.data_ptr<float>() + row * d;
      part.entropy = dense->entropy.data_ptr<float>() + row;
      part.kl = kl.data() + row;
    }
    RunRows(model, type, part);
  }
  std::vector<LossSums> sums(sequences);
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t i = s * length; i + 1 < (s + 1) * length; ++i) {
      sums[s].nll += nll[i];
      if (dense != nullptr) sums[s].kl += kl[i];
    }
  }
  return sums;
}

void CpuLoss::RunRows(const ResidentModel& model, ComputeType type, const Rows& rows) {
  const int64_t stride = PackedMatrix::PaddedK(model.config.hidden_size);
  const int64_t chunks = (model.config.vocab_size + kChunk - 1) / kChunk;
  packed_.resize(pool_->threads());
  Ensure(&normalised_, rows.count * stride * ComputeSize(type));
  Ensure(&scratch_, pool_->threads() * (kTileRows * kChunk + stride) * 4);
  Ensure(&partial_, chunks * rows.count * 2 * 4);
  Ensure(&target_logits_, rows.count * 4);
  Ensure(&expected_logits_, rows.count * 4);
  Normalise(model, type, rows);
  pool_->ParallelFor(chunks, [&](int64_t chunk, int thread) {
    RunChunk(model, type, chunk, rows.count, rows.targets, thread);
  });
  Finish(rows, chunks);
}

void CpuLoss::Normalise(const ResidentModel& model, ComputeType type, const Rows& rows) {
  const int64_t d = model.config.hidden_size;
  const int64_t stride = PackedMatrix::PaddedK(d);
  const auto eps = static_cast<float>(model.config.rms_norm_eps);
  pool_->ParallelFor((rows.count + kTileRows - 1) / kTileRows, [&](int64_t tile, int thread) {
    float* row_out = Floats(scratch_) + thread * (kTileRows * kChunk + stride);
    std::fill(row_out, row_out + stride, 0.0f);
    const int64_t end = std::min(rows.count, (tile + 1) * kTileRows);
    for (int64_t i = tile * kTileRows; i < end; ++i) {
      kernels_->rms_norm(rows.x + i * d, rows.norm, eps, d, row_out);
      if (type == ComputeType::kFloat32) {
        std::memcpy(Floats(normalised_) + i * stride, row_out, stride * 4);
      } else {
        auto* rounded = static_cast<BFloat16Bits*>(normalised_.data_ptr()) + i * stride;
        kernels_->to_bfloat16(row_out, stride, rounded);
        // The logits are those of the rounded row; so must be their mean.
        if (rows.kl != nullptr) kernels_->from_bfloat16(rounded, d, row_out);
      }
      if (rows.kl == nullptr) continue;
      const float* expected = rows.expected + i * d;
      double sum = 0;
      for (int64_t j = 0; j < d; ++j) sum += static_cast<double>(row_out[j]) * expected[j];
      Floats(expected_logits_)[i] = static_cast<float>(sum);
    }
  });
}

void CpuLoss::Finish(const Rows& rows, int64_t chunks) {
  const float* partial = Floats(partial_);
  const float* targets = Floats(target_logits_);
  const float* expected = Floats(expected_logits_);
  pool_->ParallelFor((rows.count + kTileRows - 1) / kTileRows, [&](int64_t tile, int) {
    const int64_t end = std::min(rows.count, (tile + 1) * kTileRows);
    for (int64_t i = tile * kTileRows; i < end; ++i) {
      float max = partial[2 * i];
      for (int64_t c = 1; c < chunks; ++c) max = std::max(max, partial[2 * (c * rows.count + i)]);
      double sum = 0;
      for (int64_t c = 0; c < chunks; ++c) {
        const float* part = partial + 2 * (c * rows.count + i);
        sum += static_cast<double>(part[1]) * std::exp(static_cast<double>(part[0] - max));
      }
      const double log_sum = std::log(sum) + max;
      rows.nll[i] = static_cast<float>(log_sum - targets[i]);
      if (rows.kl != nullptr) {
        rows.kl[i] = static_cast<float>(log_sum - expected[i] - rows.entropy[i]);
      }
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
