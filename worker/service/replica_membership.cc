#include "worker/service/replica_membership.h"

namespace espalier {

void ReplicaMembership::Join(const v1::JoinReplica& join) {
  if (join.stage_addresses_size() < 2 || server_ == nullptr || join.stage() < 0 ||
      join.stage() >= join.stage_addresses_size()) {
    return Leave();
  }
  // The token is the coordinator's alone; stages show each other the replica's secret.
  Replace(std::make_shared<GrpcTransport>(
      ReplicaPlace{.epoch = join.epoch(),
                   .secret = join.secret(),
                   .rank = join.stage(),
                   .addresses = {join.stage_addresses().begin(), join.stage_addresses().end()}},
      ConnectionSecurity{.tls = security_.tls}));
}

void ReplicaMembership::Leave() { Replace(nullptr); }

void ReplicaMembership::Replace(std::shared_ptr<GrpcTransport> transport) {
  if (server_ != nullptr) server_->Serve(transport);  // aborts the one before
  MutexLock lock(&mutex_);
  transport_.swap(transport);
}

std::shared_ptr<Transport> ReplicaMembership::TransportOf(uint64_t epoch) const {
  MutexLock lock(&mutex_);
  return transport_ != nullptr && transport_->place().epoch == epoch ? transport_ : nullptr;
}

}  // namespace espalier
