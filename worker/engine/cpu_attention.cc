#include "worker/engine/cpu_attention.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace espalier {
namespace {

constexpr int64_t kKeyBlock = 64;     // positions in a packed block of keys
constexpr int64_t kKeysAtOnce = 512;  // scores of so many keys exist at a time

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Query positions of a tile: about 128 rows over the group's heads.
int64_t TileRows(int64_t heads) {
  if (heads >= 8) return 16;
  if (heads >= 4) return 32;
  return heads >= 2 ? 64 : CpuAttention::kPaddedTo;
}
static_assert(CpuAttention::kPaddedTo % kKeyBlock == 0);

}  // namespace

float* CpuAttention::Reserve(at::Tensor* buffer, int64_t floats, bool zero) {
  if (!buffer->defined() || buffer->numel() < floats) {
    *buffer = at::Tensor();
    *buffer = at::empty({floats}, at::kFloat);
  }
  float* data = buffer->data_ptr<float>();
  if (zero) std::memset(data, 0, floats * sizeof(float));
  return data;
}

int64_t CpuAttention::bytes() const {
  int64_t total = 0;
  for (const at::Tensor* buffer : {&buffer_, &rotary_buffer_, &scratch_}) {
    if (buffer->defined()) total += static_cast<int64_t>(buffer->nbytes());
  }
  return total;
}

void CpuAttention::Begin(const ModelConfig& config, const LayerSelection& selection,
                         const RotaryTable& rotary, int64_t sequences, int64_t length) {
  heads_ = config.queries_per_group();
  scale_ = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  sequences_ = sequences;
  length_ = length;
  tile_rows_ = TileRows(heads_);
  tiles_ = (length + tile_rows_ - 1) / tile_rows_;
  key_blocks_ = (length + kKeyBlock - 1) / kKeyBlock;
  groups_.assign(selection.group_pairs.size(), Group());
  query_columns_ = key_columns_ = max_padded_ = 0;
  int64_t floats = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    group.width = 2 * selection.group_pairs[g];
    group.padded = RoundUp(group.width, 16);
    group.query_column = query_columns_;
    group.key_column = key_columns_;
    query_columns_ += heads_ * group.width;
    key_columns_ += group.width;
    max_padded_ = std::max(max_padded_, group.padded);
    floats +=
        sequences * group.padded * (tiles_ * heads_ * tile_rows_ + 2 * key_blocks_ * kKeyBlock);
  }
  // Padding must be finite and padded keys zero; positions are overwritten.
  float* next = Reserve(&buffer_, floats, /*zero=*/true);
  for (Group& group : groups_) {
    group.queries = next;
    next += sequences * tiles_ * heads_ * tile_rows_ * group.padded;
    group.keys = next;
    next += sequences * key_blocks_ * kKeyBlock * group.padded;
    group.values = next;
    next += sequences * key_blocks_ * kKeyBlock * group.padded;
  }
  LayOutRotary(selection, rotary);
}

void CpuAttention::LayOutRotary(const LayerSelection& selection, const RotaryTable& rotary) {
  const int64_t pairs = rotary.cos.size(1);
  const float* cos = rotary.cos.data_ptr<float>();
  const float* sin = rotary.sin.data_ptr<float>();
  float* next = Reserve(&rotary_buffer_, key_columns_ * length_, /*zero=*/false);
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::vector<int64_t>& kept = selection.pairs[g];
    const auto n = static_cast<int64_t>(kept.size());
    if (n == pairs) {
      groups_[g].cos = cos;
      groups_[g].sin = sin;
      continue;
    }
    float* group_cos = next;
    float* group_sin = next + length_ * n;
    next += 2 * length_ * n;
    for (int64_t position = 0; position < length_; ++position) {
      for (int64_t i = 0; i < n; ++i) {
        group_cos[position * n + i] = cos[position * pairs + kept[i]];
        group_sin[position * n + i] = sin[position * pairs + kept[i]];
      }
    }
    groups_[g].cos = group_cos;
    groups_[g].sin = group_sin;
  }
}

void CpuAttention::SetRow(int64_t sequence, int64_t position, const float* projections) {
  const int64_t tile = position / tile_rows_;
  const int64_t row = position % tile_rows_;
  const int64_t block = position / kKeyBlock;
  const float* keys_in = projections + query_columns_;
  const float* values_in = keys_in + key_columns_;
  for (const Group& group : groups_) {
    if (group.width == 0) continue;
    const int64_t n = group.width / 2;
    const float* cos = group.cos + position * n;
    const float* sin = group.sin + position * n;
    const float* in = projections + group.query_column;
    float* queries =
        group.queries + (sequence * tiles_ + tile) * heads_ * tile_rows_ * group.padded;
    for (int64_t head = 0; head < heads_; ++head, in += group.width) {
      kernels_->rope(in, cos, sin, scale_, n, queries + (head * tile_rows_ + row) * group.padded);
    }
    float rotated[1024];
    float* key = group.keys + (sequence * key_blocks_ + block) * group.padded * kKeyBlock +
                 position % kKeyBlock;
    if (group.width <= 1024) {
      kernels_->rope(keys_in + group.key_column, cos, sin, 1.0f, n, rotated);
      for (int64_t i = 0; i < group.width; ++i) key[i * kKeyBlock] = rotated[i];
    } else {
      const float* a = keys_in + group.key_column;
      for (int64_t i = 0; i < n; ++i) {
        key[i * kKeyBlock] = a[i] * cos[i] - a[n + i] * sin[i];
        key[(n + i) * kKeyBlock] = a[n + i] * cos[i] + a[i] * sin[i];
      }
    }
    std::memcpy(group.values + (sequence * key_blocks_ * kKeyBlock + position) * group.padded,
                values_in + group.key_column, group.width * sizeof(float));
  }
}

void CpuAttention::Run(ComputeType type, void* out, int64_t stride) {
  const int64_t rows = heads_ * tile_rows_;
  const int64_t per_thread = rows * (kKeysAtOnce + max_padded_ + 2);
  float* scratch = Reserve(&scratch_, per_thread * pool_->threads(), /*zero=*/false);
  if (stride > query_columns_) {
    const int64_t size = ComputeSize(type);
    for (int64_t row = 0; row < sequences_ * length_; ++row) {
      std::memset(static_cast<char*>(out) + (row * stride + query_columns_) * size, 0,
                  (stride - query_columns_) * size);
    }
  }
  const auto groups = static_cast<int64_t>(groups_.size());
  pool_->ParallelFor(sequences_ * groups * tiles_, [&](int64_t item, int thread) {
    // Last tiles first: they have the most keys, and the short ones fill the gaps at the end.
    const int64_t tile = tiles_ - 1 - item / (sequences_ * groups);
    const int64_t rest = item % (sequences_ * groups);
    const Group& group = groups_[rest % groups];
    if (group.width == 0) return;
    RunTile(group, rest / groups, tile, type, out, stride, scratch + thread * per_thread);
  });
}

void CpuAttention::RunTile(const Group& group, int64_t sequence, int64_t tile, ComputeType type,
                           void* out, int64_t stride, float* scratch) const {
  const int64_t rows = heads_ * tile_rows_;
  float* scores = scratch;
  float* sums_of_values = scores + rows * kKeysAtOnce;
  float* max = sums_of_values + rows * group.padded;
  float* sum = max + rows;
  std::fill(max, max + rows, -std::numeric_limits<float>::infinity());
  std::fill(sum, sum + rows, 0.0f);

  const int64_t first = tile * tile_rows_;
  const int64_t end = std::min(length_, first + tile_rows_);  // also one past the last key needed
  const float* queries =
      group.queries + (sequence * tiles_ + tile) * heads_ * tile_rows_ * group.padded;
  const float* keys = group.keys + sequence * key_blocks_ * group.padded * kKeyBlock;
  const float* values = group.values + sequence * key_blocks_ * kKeyBlock * group.padded;

  for (int64_t key0 = 0; key0 < end; key0 += kKeysAtOnce) {
    const int64_t count = RoundUp(std::min(kKeysAtOnce, end - key0), kKeyBlock);
    for (int64_t k = 0; k < count; k += kKeyBlock) {
      MultiplyFloat(rows, kKeyBlock, group.padded, queries, group.padded,
                    keys + (key0 + k) * group.padded, kKeyBlock, scores + k, kKeysAtOnce, false);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t position = first + row % tile_rows_;
      const int64_t valid = std::clamp<int64_t>(position + 1 - key0, 0, count);
      const float factor =
          kernels_->softmax_step(scores + row * kKeysAtOnce, valid, count, max + row, sum + row);
      if (key0 > 0 && factor != 1.0f) {
        kernels_->scale(sums_of_values + row * group.padded, group.padded, factor);
      }
    }
    MultiplyFloat(rows, group.padded, count, scores, kKeysAtOnce, values + key0 * group.padded,
                  group.padded, sums_of_values, group.padded, key0 > 0);
  }

  for (int64_t head = 0; head < heads_; ++head) {
    for (int64_t position = first; position < end; ++position) {
      const int64_t row = head * tile_rows_ + position - first;
      float* result = sums_of_values + row * group.padded;
      kernels_->scale(result, group.width, 1.0f / sum[row]);
      const int64_t target =
          (sequence * length_ + position) * stride + group.query_column + head * group.width;
      if (type == ComputeType::kFloat32) {
        std::memcpy(static_cast<float*>(out) + target, result, group.width * sizeof(float));
      } else {
        kernels_->to_bfloat16(result, group.width, static_cast<BFloat16Bits*>(out) + target);
      }
    }
  }
}

}  // namespace espalier
