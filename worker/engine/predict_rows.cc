#include <ATen/ATen.h>

#include <algorithm>

#include "worker/engine/backend.h"

namespace espalier {
namespace {

constexpr int64_t kChunk = 4096;  // of the vocabulary, as float32

}  // namespace

DenseRows PredictRows(const ResidentModel& model, const at::Tensor& x) {
  const at::Tensor norm =
      x * at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + model.config.rms_norm_eps) *
      model.final_norm;
  // As the losses round it.
  const at::Tensor h = norm.to(model.type).to(at::kFloat);
  const int64_t vocabulary = model.head.size(0);
  at::Tensor p = at::empty({x.size(0), vocabulary}, h.options());
  const auto chunk = [&](int64_t first) {
    return model.head.narrow(0, first, std::min(kChunk, vocabulary - first)).to(at::kFloat);
  };
  for (int64_t first = 0; first < vocabulary; first += kChunk) {
    const at::Tensor rows = chunk(first);
    p.narrow(1, first, rows.size(0)).copy_(at::mm(h, rows.t()));
  }
  const at::Tensor log_sum = at::logsumexp(p, -1, /*keepdim=*/true);
  p.sub_(log_sum).exp_();
  at::Tensor expected = at::zeros_like(h);
  for (int64_t first = 0; first < vocabulary; first += kChunk) {
    const at::Tensor rows = chunk(first);
    expected.addmm_(p.narrow(1, first, rows.size(0)), rows);
  }
  // −Σ p ln p = ln Σ exp z − Σ p z, and Σ p z is h · Σ p E.
  const at::Tensor entropy = log_sum.squeeze(-1) - (h * expected).sum(-1);
  return {expected, entropy};
}

}  // namespace espalier
