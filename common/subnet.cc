#include "common/subnet.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/file.h"
#include "common/json.h"
#include "common/sha256.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

using Json = nlohmann::json;

absl::Status WrongCount(const std::string& where, const char* what, int64_t got, int64_t expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, " has ", got, " ", what, ", the model needs ", expected));
}

std::string LayerName(size_t layer) { return absl::StrCat("layer ", layer); }

std::string GroupName(size_t layer, size_t group) {
  return absl::StrCat(LayerName(layer), ": attention mask of KV group ", group);
}

// Length-prefixed, so that masks of other sizes cannot have the same digest.
void HashNumber(Sha256& hash, int64_t number) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(static_cast<uint64_t>(number) >> (8 * i) & 0xff);
  }
  hash.Update(bytes);
}

void HashMask(Sha256& hash, const Bitmask& mask) {
  HashNumber(hash, mask.size());
  hash.Update(mask.bytes());
}

// Embeddings and final norm.
int64_t ParametersOutsideLayers(const ModelConfig& config) {
  return ((config.tie_word_embeddings ? 1 : 2) * config.vocab_size + 1) * config.hidden_size;
}

absl::StatusOr<Bitmask> MaskFromJson(const Json& value, int64_t size, const std::string& where) {
  if (!value.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": must be a string of ",
                                                   (size + 7) / 8 * 2, " hexadecimal digits (",
                                                   size, " bits), got ", value.type_name()));
  }
  absl::StatusOr<Bitmask> mask = Bitmask::FromHex(size, value.get_ref<const std::string&>());
  if (!mask.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", mask.status().message()));
  }
  return mask;
}

// The array under `key` of the object `value`, of exactly `count` elements.
absl::StatusOr<const Json*> ArrayAt(const Json& value, const char* key, int64_t count,
                                    const std::string& where) {
  const auto found = value.is_object() ? value.find(key) : value.end();
  if (!value.is_object() || found == value.end() || !found->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": has no array \"", key, "\""));
  }
  if (static_cast<int64_t>(found->size()) != count) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": \"", key, "\" has ", found->size(),
                                                   " elements, the model needs ", count));
  }
  return &*found;
}

absl::StatusOr<LayerMask> LayerFromJson(const Json& value, const ModelConfig& config,
                                        const std::string& source, size_t layer) {
  const std::string where = absl::StrCat(source, ": ", LayerName(layer));
  LayerMask mask;
  ESPALIER_ASSIGN_OR_RETURN(const Json* groups, ArrayAt(value, "attn", config.num_kv_heads, where));
  for (size_t g = 0; g < groups->size(); ++g) {
    ESPALIER_ASSIGN_OR_RETURN(Bitmask pairs,
                              MaskFromJson((*groups)[g], config.pairs(),
                                           absl::StrCat(source, ": ", GroupName(layer, g))));
    mask.attention.push_back(std::move(pairs));
  }
  const auto mlp = value.find("mlp");
  if (mlp == value.end()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": has no mask \"mlp\""));
  }
  ESPALIER_ASSIGN_OR_RETURN(
      mask.mlp, MaskFromJson(*mlp, config.intermediate_size, absl::StrCat(where, ": MLP mask")));
  return mask;
}

}  // namespace

bool LayerMask::HasAttention() const {
  return std::any_of(attention.begin(), attention.end(),
                     [](const Bitmask& group) { return group.Any(); });
}

int64_t LayerMask::KeptPairs() const {
  int64_t pairs = 0;
  for (const Bitmask& group : attention) pairs += group.Count();
  return pairs;
}

Subnet Subnet::Dense(const ModelConfig& config) {
  const LayerMask full{
      .attention = std::vector<Bitmask>(config.num_kv_heads, Bitmask(config.pairs(), true)),
      .mlp = Bitmask(config.intermediate_size, true)};
  return {.layers = std::vector<LayerMask>(config.num_layers, full)};
}

absl::Status ValidateSubnet(const Subnet& subnet, const ModelConfig& config) {
  if (static_cast<int64_t>(subnet.layers.size()) != config.num_layers) {
    return WrongCount("the subnet", "layers", subnet.layers.size(), config.num_layers);
  }
  for (size_t i = 0; i < subnet.layers.size(); ++i) {
    const LayerMask& layer = subnet.layers[i];
    if (static_cast<int64_t>(layer.attention.size()) != config.num_kv_heads) {
      return WrongCount(LayerName(i), "attention masks", layer.attention.size(),
                        config.num_kv_heads);
    }
    for (size_t g = 0; g < layer.attention.size(); ++g) {
      const int64_t bits = layer.attention[g].size();
      if (bits != config.pairs()) return WrongCount(GroupName(i, g), "bits", bits, config.pairs());
    }
    if (layer.mlp.size() != config.intermediate_size) {
      return WrongCount(absl::StrCat(LayerName(i), ": MLP mask"), "bits", layer.mlp.size(),
                        config.intermediate_size);
    }
  }
  return absl::OkStatus();
}

int64_t ParametersPerPair(const ModelConfig& config) {
  return 2 * config.hidden_size * (2 * config.queries_per_group() + 2);
}

int64_t ParametersPerChannel(const ModelConfig& config) { return 3 * config.hidden_size; }

int64_t CountParameters(const Subnet& subnet, const ModelConfig& config) {
  const int64_t d = config.hidden_size;
  int64_t count = ParametersOutsideLayers(config);
  for (const LayerMask& layer : subnet.layers) {
    const int64_t norms = (layer.HasAttention() ? 1 : 0) + (layer.HasMlp() ? 1 : 0);
    count += norms * d + layer.KeptPairs() * ParametersPerPair(config) +
             layer.mlp.Count() * ParametersPerChannel(config);
  }
  return count;
}

// Without masks: those of a hostile config.json would not fit into memory.
int64_t DenseParameters(const ModelConfig& config) {
  const int64_t layer = 2 * config.hidden_size +
                        config.num_kv_heads * config.pairs() * ParametersPerPair(config) +
                        config.intermediate_size * ParametersPerChannel(config);
  return ParametersOutsideLayers(config) + config.num_layers * layer;
}

double ParameterRatio(const Subnet& subnet, const ModelConfig& config) {
  return static_cast<double>(CountParameters(subnet, config)) /
         static_cast<double>(DenseParameters(config));
}

std::string Fingerprint(const Subnet& subnet) {
  Sha256 hash;
  HashNumber(hash, subnet.layers.size());
  for (const LayerMask& layer : subnet.layers) {
    HashNumber(hash, layer.attention.size());
    for (const Bitmask& group : layer.attention) HashMask(hash, group);
    HashMask(hash, layer.mlp);
  }
  return hash.HexDigest();
}

// A line per layer, so that a person can read and compare the file. The masks are hexadecimal:
// nothing needs escaping.
std::string MasksToJson(const Subnet& subnet) {
  const auto append_layer = [](std::string* out, const LayerMask& layer) {
    const auto append_hex = [](std::string* hex, const Bitmask& mask) {
      absl::StrAppend(hex, "\"", mask.ToHex(), "\"");
    };
    absl::StrAppend(out, "{\"attn\": [", absl::StrJoin(layer.attention, ", ", append_hex),
                    "], \"mlp\": \"", layer.mlp.ToHex(), "\"}");
  };
  return absl::StrCat("{\"masks\": [\n", absl::StrJoin(subnet.layers, ",\n", append_layer),
                      "\n]}\n");
}

absl::StatusOr<Subnet> SubnetFromJson(std::string_view json, const ModelConfig& config,
                                      std::string_view source) {
  const std::string file(source);
  const Json root = ParseJson(json);
  if (root.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not valid JSON"));
  }
  ESPALIER_ASSIGN_OR_RETURN(const Json* layers, ArrayAt(root, "masks", config.num_layers, file));
  Subnet subnet;
  for (size_t i = 0; i < layers->size(); ++i) {
    ESPALIER_ASSIGN_OR_RETURN(LayerMask layer, LayerFromJson((*layers)[i], config, file, i));
    subnet.layers.push_back(std::move(layer));
  }
  return subnet;
}

absl::StatusOr<Subnet> ReadSubnet(const std::filesystem::path& file, const ModelConfig& config) {
  ESPALIER_ASSIGN_OR_RETURN(const std::string json, ReadFile(file));
  return SubnetFromJson(json, config, file.string());
}

}  // namespace espalier
