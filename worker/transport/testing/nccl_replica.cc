#include "worker/transport/testing/nccl_replica.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace espalier {

NcclReplica::NcclReplica(int size, const CudaModule& module,
                         const std::function<void(NcclOptions*)>& adjust) {
  std::vector<std::string> addresses;
  for (int rank = 0; rank < size; ++rank) {
    servers_.push_back(*StageServer::Start("127.0.0.1:0", std::nullopt));
    addresses.push_back(servers_.back()->address());
  }
  std::vector<std::shared_ptr<GrpcTransport>> controls;
  for (int rank = 0; rank < size; ++rank) {
    controls.push_back(
        std::make_shared<GrpcTransport>(ReplicaPlace{.epoch = 7,
                                                     .secret = "s",
                                                     .rank = rank,
                                                     .addresses = addresses,
                                                     .offer = {.gpu = absl::StrCat("gpu-", rank)}},
                                        ConnectionSecurity()));
    servers_[rank]->Serve(controls.back());
  }
  for (int rank = 0; rank < size; ++rank) {
    controls[rank]->AwaitOffers(nullptr).status().IgnoreError();  // what is missing will show
    NcclOptions options{.module = module, .device = rank};
    if (adjust) adjust(&options);
    transports_.push_back(std::make_unique<NcclTransport>(controls[rank], std::move(options)));
  }
}

}  // namespace espalier
