#include <numeric>

#include "common/model_folder.h"
#include "worker/engine/backend.h"

namespace espalier {
namespace {

std::vector<int64_t> FirstIntegers(int64_t count) {
  std::vector<int64_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

LayerSelection SelectLayer(const LayerMask& mask, const LayerMask& resident,
                           const ModelConfig& config) {
  LayerSelection selection;
  for (const Bitmask& group : mask.attention) {
    selection.pairs.push_back(group.Indices());
    selection.group_pairs.push_back(static_cast<int64_t>(selection.pairs.back().size()));
  }
  selection.all_attention = mask.attention == resident.attention;
  if (selection.all_attention) {
    const int64_t keys = 2 * mask.KeptPairs();
    selection.key_rows = FirstIntegers(keys);
    selection.query_rows = FirstIntegers(keys * config.queries_per_group());
  } else {
    selection.key_rows = KeyValueRows(mask, config);
    selection.query_rows = QueryRows(mask, config);
  }
  selection.all_mlp = mask.mlp == resident.mlp;
  selection.channels = selection.all_mlp ? FirstIntegers(mask.mlp.Count()) : mask.mlp.Indices();
  return selection;
}

}  // namespace espalier
