#include <string>

#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "common/subnet.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

constexpr std::string_view kSource = "folder/subnet.json";

}  // namespace

absl::Status SubnetJson(std::string_view input) {
  const ModelConfig config = TinyConfig();
  const absl::StatusOr<Subnet> subnet = SubnetFromJson(input, config, kSource);
  if (!subnet.ok()) return RequireNames(subnet.status(), kSource);
  ESPALIER_RETURN_IF_ERROR(ValidateSubnet(*subnet, config));
  ESPALIER_RETURN_IF_ERROR(Require(CountParameters(*subnet, config) <= DenseParameters(config),
                                   "a subnet has no more parameters than the model"));
  const absl::StatusOr<Subnet> again = SubnetFromJson(MasksToJson(*subnet), config, kSource);
  if (!again.ok()) return again.status();
  return Require(*again == *subnet && Fingerprint(*again) == Fingerprint(*subnet),
                 "written masks read back the same");
}

}  // namespace espalier::fuzz
