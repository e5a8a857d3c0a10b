#include <string>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/subnet.h"
#include "espalier/v1/worker.pb.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"
#include "worker/service/messages.h"

namespace espalier::fuzz {
namespace {

bool SameMasks(const v1::SubnetMasks& message, const Subnet& subnet) {
  if (message.layers_size() != static_cast<int>(subnet.layers.size())) return false;
  for (int i = 0; i < message.layers_size(); ++i) {
    const LayerMask& layer = subnet.layers[i];
    if (message.layers(i).mlp() != layer.mlp.bytes()) return false;
    if (message.layers(i).attention_size() != static_cast<int>(layer.attention.size()))
      return false;
    for (int g = 0; g < message.layers(i).attention_size(); ++g) {
      if (message.layers(i).attention(g) != layer.attention[g].bytes()) return false;
    }
  }
  return true;
}

}  // namespace

// A SubnetMasks message.
absl::Status SubnetMessage(std::string_view input) {
  v1::SubnetMasks message;
  if (!message.ParseFromArray(input.data(), static_cast<int>(input.size()))) {
    return absl::OkStatus();
  }
  const ModelConfig config = TinyConfig();
  const Subnet dense = Subnet::Dense(config);
  const absl::StatusOr<Subnet> subnet = SubnetFromMessage(message, config, dense);
  if (!subnet.ok()) return absl::OkStatus();
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(*subnet, config));
  return Require(message.layers_size() == 0 ? *subnet == dense : SameMasks(message, *subnet),
                 "an accepted message's masks are the subnet's");
}

}  // namespace espalier::fuzz
