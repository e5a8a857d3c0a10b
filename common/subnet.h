// A subnet: which units of each layer of a dense model stay (paper section 3; docs/method.md).
//
// - Attention: per KV group, which rotary pairs stay. Pair p is dims p and p + h/2 of k, of v, of
//   the group's r query heads, and the matching columns of o.
// - MLP: which of the f intermediate channels stay (rows of gate and up, columns of down).
// A module with an empty mask is absent together with its norm; a layer without both is dropped.
#ifndef ESPALIER_COMMON_SUBNET_H_
#define ESPALIER_COMMON_SUBNET_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/bitmask.h"
#include "common/model_config.h"

namespace espalier {

struct LayerMask {
  std::vector<Bitmask> attention;  // [G] of h/2 bits
  Bitmask mlp;                     // f bits

  int64_t KeptPairs() const;  // over all groups
  bool HasAttention() const;
  bool HasMlp() const { return mlp.Any(); }

  friend bool operator==(const LayerMask&, const LayerMask&) = default;
};

struct Subnet {
  std::vector<LayerMask> layers;  // [L]

  static Subnet Dense(const ModelConfig& config);

  friend bool operator==(const Subnet&, const Subnet&) = default;
};

// INVALID_ARGUMENT, naming the layer and the mask, unless the subnet has the model's shape.
absl::Status ValidateSubnet(const Subnet& subnet, const ModelConfig& config);

// Parameter counts (docs/method.md, "Parameters"): the embedding (once if tied), the final norm,
// and per layer n·2·d·(2r + 2) for n kept pairs, 3·d·f' for f' kept channels, and d for the norm of
// each module that is present.
int64_t ParametersPerPair(const ModelConfig& config);
int64_t ParametersPerChannel(const ModelConfig& config);
int64_t CountParameters(const Subnet& subnet, const ModelConfig& config);
int64_t DenseParameters(const ModelConfig& config);
double ParameterRatio(const Subnet& subnet, const ModelConfig& config);

// Lower-case hexadecimal SHA-256 of all masks in order; two subnets are equal iff theirs are.
std::string Fingerprint(const Subnet& subnet);

// JSON of the form {"masks": [{"attn": ["<hex>", ...], "mlp": "<hex>"}, ...], ...}; other keys are
// ignored on reading. `source` names the file in errors.
std::string MasksToJson(const Subnet& subnet);
absl::StatusOr<Subnet> SubnetFromJson(std::string_view json, const ModelConfig& config,
                                      std::string_view source);
absl::StatusOr<Subnet> ReadSubnet(const std::filesystem::path& file, const ModelConfig& config);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SUBNET_H_
