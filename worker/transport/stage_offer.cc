#include "worker/transport/stage_offer.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"

namespace espalier {

StageOffer ReadOffer(const v1::StageOffer& message) {
  return {.gpu = message.gpu(),
          .nccl = message.nccl(),
          .machine = message.machine(),
          .clear_text = message.clear_text(),
          .reason = message.reason()};
}

void WriteOffer(const StageOffer& offer, v1::StageOffer* message) {
  message->set_gpu(offer.gpu);
  message->set_nccl(offer.nccl);
  message->set_machine(offer.machine);
  message->set_clear_text(offer.clear_text);
  message->set_reason(offer.reason);
}

std::string WhyNotNccl(const std::vector<StageOffer>& offers) {
  std::map<std::string, size_t> gpus;
  for (size_t stage = 0; stage < offers.size(); ++stage) {
    const StageOffer& offer = offers[stage];
    if (!offer.HasGpu()) {
      return absl::StrCat("stage ", stage, ": ",
                          offer.reason.empty() ? "it offers no GPU" : offer.reason);
    }
    // NCCL does not allow it.
    const auto [other, is_new] = gpus.emplace(offer.gpu, stage);
    if (!is_new) {
      return absl::StrCat("stages ", other->second, " and ", stage, " share the GPU ", offer.gpu);
    }
    // NCCL promises nothing between versions.
    if (offer.nccl != offers[0].nccl) {
      return absl::StrCat("stage 0 has NCCL ", offers[0].nccl, ", stage ", stage, " has ",
                          offer.nccl);
    }
  }
  const auto elsewhere = std::find_if(offers.begin(), offers.end(), [&](const StageOffer& offer) {
    return offer.machine != offers[0].machine;
  });
  if (elsewhere == offers.end()) return "";
  for (size_t stage = 0; stage < offers.size(); ++stage) {
    if (offers[stage].clear_text) continue;
    return absl::StrCat("the stages are on several machines, NCCL does not encrypt, and stage ",
                        stage, " was not started with --insecure");
  }
  return "";
}

}  // namespace espalier
