#include "worker/engine/head_metric.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace espalier {
namespace {

constexpr int64_t kTileRows = 128;
constexpr int64_t kChunk = 4096;  // of the vocabulary, as float32

// Calls body(first, rows): a chunk of the head with the final norm's weights in it, w E_v.
template <typename Body>
void ForHead(const ResidentModel& model, Body body) {
  const int64_t vocabulary = model.head.size(0);
  for (int64_t first = 0; first < vocabulary; first += kChunk) {
    const int64_t count = std::min(kChunk, vocabulary - first);
    body(first, model.head.narrow(0, first, count).to(at::kFloat) * model.final_norm);
  }
}

// Of one tile of rows, what makes up the sums.
struct Tile {
  at::Tensor weight;  // [V]: Σ p / s²
  // [n, d]; each times 1/s.
  at::Tensor mean;      // w m
  at::Tensor radial;    // u = x / |x|
  at::Tensor response;  // A u of the bracket A
  at::Tensor along;     // u · A u, [n, 1], not times 1/s
};

Tile TileOf(const ResidentModel& model, const at::Tensor& x) {
  const double root_d = std::sqrt(static_cast<double>(x.size(1)));
  const at::Tensor inverse =
      at::rsqrt(x.square().mean(-1, /*keepdim=*/true) + model.config.rms_norm_eps);  // 1/s
  const at::Tensor normal = x * inverse;
  at::Tensor log_p = at::empty({x.size(0), model.head.size(0)}, x.options());
  ForHead(model, [&](int64_t first, const at::Tensor& rows) {
    log_p.narrow(1, first, rows.size(0)).copy_(at::mm(normal, rows.t()));
  });
  log_p.sub_(at::logsumexp(log_p, -1, /*keepdim=*/true));
  const at::Tensor p = log_p.exp();
  log_p.mul_(p);  // p ln p
  at::Tensor mean = at::zeros_like(x);
  at::Tensor product = at::zeros_like(x);
  ForHead(model, [&](int64_t first, const at::Tensor& rows) {
    mean.addmm_(p.narrow(1, first, rows.size(0)), rows);
    product.addmm_(log_p.narrow(1, first, rows.size(0)), rows);
  });
  // (w E_v) · u is the logit over √d, and a covariance does not change with the constant by which
  // ln p differs from the logit.
  const at::Tensor response = (product - mean * log_p.sum(-1, /*keepdim=*/true)) / root_d;
  const at::Tensor radial = normal / root_d;
  return {at::mm(inverse.square().t(), p).squeeze(0), mean * inverse, radial * inverse,
          response * inverse, (radial * response).sum(-1, /*keepdim=*/true)};
}

}  // namespace

at::Tensor HeadMetric(const ResidentModel& model, const at::Tensor& x, ThreadPool* pool) {
  const int64_t rows = x.size(0);
  std::vector<Tile> tiles((rows + kTileRows - 1) / kTileRows);
  pool->ParallelFor(std::ssize(tiles), [&](int64_t tile, int) {
    const int64_t first = tile * kTileRows;
    tiles[tile] = TileOf(model, x.narrow(0, first, std::min(kTileRows, rows - first)));
  });
  at::Tensor metric = at::zeros({x.size(1), x.size(1)}, x.options());
  at::Tensor weight = at::zeros({model.head.size(0)}, x.options());
  for (const Tile& tile : tiles) {
    weight.add_(tile.weight);
    metric.addmm_(tile.mean.t(), tile.mean, 1, -1);
    metric.addmm_(tile.radial.t(), tile.response, 1, -1);
    metric.addmm_(tile.response.t(), tile.radial, 1, -1);
    metric.addmm_(tile.radial.t(), tile.radial * tile.along);
  }
  ForHead(model, [&](int64_t first, const at::Tensor& head) {
    metric.addmm_(head.t(), head * weight.narrow(0, first, head.size(0)).unsqueeze(1));
  });
  return metric.div_(rows);
}

}  // namespace espalier
