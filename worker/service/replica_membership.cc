#include "worker/service/replica_membership.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/transport/nccl_transport.h"

namespace espalier {

void ReplicaMembership::Join(const v1::JoinReplica& join) {
  if (join.stage_addresses_size() < 2 || server_ == nullptr || join.stage() < 0 ||
      join.stage() >= join.stage_addresses_size()) {
    return Leave();
  }
  // The token is the coordinator's alone; stages show each other the replica's secret.
  auto streams = std::make_unique<GrpcTransport>(
      ReplicaPlace{.epoch = join.epoch(),
                   .secret = join.secret(),
                   .rank = join.stage(),
                   .addresses = {join.stage_addresses().begin(), join.stage_addresses().end()},
                   .offer = Offer()},
      ConnectionSecurity{.tls = security_.tls}, keepalive_);
  Replace(std::shared_ptr<GrpcTransport>(streams.release(), [this](GrpcTransport* over) {
    Bury(std::unique_ptr<GrpcTransport>(over));
  }));
}

void ReplicaMembership::Bury(std::unique_ptr<GrpcTransport> streams) {
  MutexLock lock(&burying_mutex_);
  std::erase_if(burials_, [](const std::future<void>& burial) {
    return burial.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  });
  burials_.push_back(std::async(std::launch::async,
                                [streams = std::move(streams)]() mutable { streams.reset(); }));
}

void ReplicaMembership::Leave() { Replace(nullptr); }

void ReplicaMembership::Replace(std::shared_ptr<GrpcTransport> streams) {
  Place before;
  {
    MutexLock lock(&mutex_);
    std::swap(before, place_);
    place_.streams = streams;
  }
  // At once, and not only when its streams have ended.
  if (before.transport != nullptr) before.transport->Abort();
  if (server_ != nullptr) server_->Serve(std::move(streams));  // aborts the one before
}

StageOffer ReplicaMembership::Offer() const {
  MutexLock lock(&mutex_);
  if (nccl_failure_.empty()) return gpu_.offer;
  return {.reason = absl::StrCat("NCCL has failed before: ", nccl_failure_)};
}

void ReplicaMembership::GiveUpNccl(const std::string& reason) {
  spdlog::warn(
      "{}; from the next replica on, this worker's activations go by gRPC through host memory "
      "(NCCL_DEBUG=INFO in its environment shows more; start it again to try NCCL again)",
      reason);
  MutexLock lock(&mutex_);
  nccl_failure_ = reason;
}

absl::StatusOr<std::shared_ptr<Transport>> ReplicaMembership::TransportOf(
    uint64_t epoch, const std::atomic<bool>* cancelled) {
  std::shared_ptr<GrpcTransport> streams;
  {
    MutexLock lock(&mutex_);
    if (place_.streams == nullptr || place_.streams->place().epoch != epoch) return nullptr;
    if (place_.transport != nullptr) return place_.transport;
    streams = place_.streams;
  }
  ESPALIER_ASSIGN_OR_RETURN(std::shared_ptr<Transport> chosen, Choose(streams, cancelled));
  MutexLock lock(&mutex_);
  if (place_.streams != streams) return absl::AbortedError("the replica is over");
  place_.transport = chosen;
  return chosen;
}

absl::StatusOr<std::shared_ptr<Transport>> ReplicaMembership::Choose(
    std::shared_ptr<GrpcTransport> streams, const std::atomic<bool>* cancelled) {
  const ReplicaPlace& place = streams->place();
  std::string obstacle;
  if (place.offer.HasGpu()) {
    ESPALIER_ASSIGN_OR_RETURN(const std::vector<StageOffer> offers,
                              streams->AwaitOffers(cancelled));
    obstacle = WhyNotNccl(offers);
  } else {
    obstacle = absl::StrCat("stage ", place.rank, ": ", place.offer.reason);
  }
  if (!obstacle.empty()) {
    spdlog::info("stage {} of {}, epoch {}: activations go by gRPC through host memory ({})",
                 place.rank, place.addresses.size(), place.epoch, obstacle);
    return streams;
  }
  spdlog::info("stage {} of {}, epoch {}: activations go by NCCL {} (a GPU for every stage)",
               place.rank, place.addresses.size(), place.epoch, place.offer.nccl);
  return std::make_shared<NcclTransport>(
      std::move(streams),
      NcclOptions{.module = *gpu_.module,
                  .device = gpu_.device,
                  .on_unusable = [this](const std::string& reason) { GiveUpNccl(reason); }});
}

}  // namespace espalier
