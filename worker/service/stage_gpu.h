// What this worker's device can do for the exchange of tensors between stages.
#ifndef ESPALIER_WORKER_SERVICE_STAGE_GPU_H_
#define ESPALIER_WORKER_SERVICE_STAGE_GPU_H_

#include <optional>
#include <string>

#include "worker/cuda/loader.h"
#include "worker/transport/stage_offer.h"

namespace espalier {

struct StageGpu {
  StageOffer offer{};                  // what the other stages are told
  std::optional<CudaModule> module{};  // set when the offer has a GPU
  int device = 0;
};

// `device` as DetectDevice takes it. `clear_text` as in StageOffer. Never fails: a device that NCCL
// cannot use is an offer without a GPU.
StageGpu DescribeStageGpu(const std::string& device, bool clear_text);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_STAGE_GPU_H_
