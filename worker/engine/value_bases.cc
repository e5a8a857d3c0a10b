#include "worker/engine/value_bases.h"

#include <ATen/ATen.h>

#include <tuple>

#include "common/status_macros.h"
#include "worker/engine/statistics.h"

namespace espalier {

absl::StatusOr<at::Tensor> ValueBases(const at::Tensor& o_transposed, const at::Tensor& gram,
                                      const ModelConfig& config) {
  ESPALIER_RETURN_IF_ERROR(CheckFinite(gram));
  const int64_t groups = config.num_kv_heads;
  const int64_t r = config.queries_per_group();
  const int64_t h = config.head_dim;
  const at::Tensor o = o_transposed.to(at::kDouble).view({groups, r, h, -1});
  // H_ee of each head: [G, r, h, h].
  const at::Tensor own = gram.view({groups * r, h, groups * r, h})
                             .diagonal(0, 0, 2)
                             .permute({2, 0, 1})
                             .to(at::kDouble)
                             .reshape({groups, r, h, h});
  const at::Tensor size = own.diagonal(0, -2, -1).sum(-1).view({groups, r, 1, 1});
  const at::Tensor covariance = own.sum(1);
  const at::Tensor effect = (at::matmul(o, o.transpose(-2, -1)) * size).sum(1);
  const auto [squares, vectors] = at::linalg_eigh(effect);
  const at::Tensor root =
      at::matmul(vectors * squares.clamp_min(0).sqrt().unsqueeze(-2), vectors.transpose(-2, -1));
  const at::Tensor directions =
      std::get<1>(at::linalg_eigh(at::matmul(at::matmul(root, covariance), root)));
  return std::get<0>(at::linalg_qr(at::matmul(root, directions.flip(-1))));
}

at::Tensor InBases(const at::Tensor& bases, const at::Tensor& rows) {
  const int64_t groups = bases.size(0);
  const int64_t h = bases.size(1);
  const at::Tensor heads = rows.to(at::kDouble).reshape({groups, -1, h, rows.size(1)});
  return at::matmul(bases.transpose(-2, -1).unsqueeze(1), heads).reshape(rows.sizes());
}

at::Tensor GramInBases(const at::Tensor& bases, const at::Tensor& gram) {
  return InBases(bases, InBases(bases, gram).t());
}

std::vector<int64_t> FirstDirections(const std::vector<int64_t>& group_pairs, int64_t heads,
                                     int64_t head_dim) {
  const int64_t r = heads / std::ssize(group_pairs);
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t i = 0; i < 2 * group_pairs[head / r]; ++i) rows.push_back(head * head_dim + i);
  }
  return rows;
}

}  // namespace espalier
