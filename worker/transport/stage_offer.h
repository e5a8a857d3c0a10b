// Whether the stages of a replica exchange tensors by NCCL or as host memory by gRPC.
#ifndef ESPALIER_WORKER_TRANSPORT_STAGE_OFFER_H_
#define ESPALIER_WORKER_TRANSPORT_STAGE_OFFER_H_

#include <string>
#include <vector>

#include "espalier/v1/stage.pb.h"

namespace espalier {

// What a stage says of itself when it opens its links (v1::StageOffer).
struct StageOffer {
  std::string gpu{};        // UUID; empty: none that NCCL can use
  std::string nccl{};       // version
  std::string machine{};    // the same for all stages on one machine
  bool clear_text = false;  // its tensors may go to another machine unencrypted
  std::string reason{};     // for people: why there is no GPU

  bool HasGpu() const { return !gpu.empty(); }
};

StageOffer ReadOffer(const v1::StageOffer& message);
void WriteOffer(const StageOffer& offer, v1::StageOffer* message);

// What forbids NCCL, for people, given what all stages offer by rank; empty: nothing does. Every
// stage comes to the same answer, since all know the same offers.
std::string WhyNotNccl(const std::vector<StageOffer>& offers);

}  // namespace espalier

#endif  // ESPALIER_WORKER_TRANSPORT_STAGE_OFFER_H_
