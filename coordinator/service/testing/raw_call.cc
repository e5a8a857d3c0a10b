#include "coordinator/service/testing/raw_call.h"

#include <grpcpp/generic/generic_stub.h>

#include <chrono>

namespace espalier {

grpc::Status RawCallStatus(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                           const std::string& request) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, method, &queue);
  const auto succeeded = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  bool alive = succeeded();
  if (alive) {
    const grpc::Slice slice(request);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    succeeded();
  }
  while (alive) {
    grpc::ByteBuffer response;
    call->Read(&response, nullptr);
    alive = succeeded();
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  succeeded();
  return status;
}

}  // namespace espalier
