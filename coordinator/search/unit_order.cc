#include "coordinator/search/unit_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier::search {
namespace {

absl::Status CheckScores(const std::vector<double>& scores, int64_t expected,
                         const std::string& where) {
  if (static_cast<int64_t>(scores.size()) != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " have ", scores.size(), " values, the model needs ", expected));
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isfinite(scores[i]) && scores[i] >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": unit ", i, " is ", scores[i],
        "; scores must be finite and not negative (look for NaN or infinite weights)"));
  }
  return absl::OkStatus();
}

UnitOrder SortMask(const std::vector<double>& scores) {
  UnitOrder order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  return order;
}

}  // namespace

absl::Status CheckUnitScores(const UnitScores& scores, const ModelConfig& config) {
  if (static_cast<int64_t>(scores.layers.size()) != config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("the unit scores have ", scores.layers.size(),
                                                   " layers, the model has ", config.num_layers));
  }
  for (size_t l = 0; l < scores.layers.size(); ++l) {
    const LayerScores& layer = scores.layers[l];
    const std::string name = absl::StrCat("unit scores of layer ", l);
    if (static_cast<int64_t>(layer.attention.size()) != config.num_kv_heads) {
      return absl::InvalidArgumentError(absl::StrCat(name, " have ", layer.attention.size(),
                                                     " KV groups, the model has ",
                                                     config.num_kv_heads));
    }
    for (size_t g = 0; g < layer.attention.size(); ++g) {
      ESPALIER_RETURN_IF_ERROR(
          CheckScores(layer.attention[g], config.pairs(), absl::StrCat(name, ", KV group ", g)));
    }
    ESPALIER_RETURN_IF_ERROR(
        CheckScores(layer.mlp, config.intermediate_size, absl::StrCat(name, ", MLP")));
  }
  return absl::OkStatus();
}

std::vector<LayerOrders> SortUnits(const UnitScores& scores) {
  std::vector<LayerOrders> orders;
  for (const LayerScores& layer : scores.layers) {
    LayerOrders& sorted = orders.emplace_back();
    for (const auto& group : layer.attention) sorted.attention.push_back(SortMask(group));
    sorted.mlp = SortMask(layer.mlp);
  }
  return orders;
}

}  // namespace espalier::search
