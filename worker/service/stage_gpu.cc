#include "worker/service/stage_gpu.h"

#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// The kernel's: the same in all its containers, and new with every boot.
std::string Machine() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

absl::StatusOr<StageGpu> Describe(int ordinal) {
  ESPALIER_ASSIGN_OR_RETURN(const CudaModule module, CudaModule::Open());
  ESPALIER_ASSIGN_OR_RETURN(const CudaDevice device, module.Describe(ordinal));
  ESPALIER_ASSIGN_OR_RETURN(const std::string nccl, module.NcclVersion());
  return StageGpu{.offer = {.gpu = device.uuid, .nccl = nccl}, .module = module, .device = ordinal};
}

}  // namespace

StageGpu DescribeStageGpu(const std::string& device, bool clear_text) {
  StageGpu gpu;
  int ordinal = 0;
  absl::string_view number = device;
  if (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &ordinal)) {
    absl::StatusOr<StageGpu> described = Describe(ordinal);
    if (described.ok()) {
      gpu = *std::move(described);
    } else {
      gpu.offer.reason = std::string(described.status().message());
    }
  } else {
    gpu.offer.reason = absl::StrCat("it computes on ", device);
  }
  gpu.offer.machine = Machine();
  gpu.offer.clear_text = clear_text;
  return gpu;
}

}  // namespace espalier
