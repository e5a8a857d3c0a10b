#include "coordinator/service/unreadable_requests.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace espalier {
namespace {

namespace grpc_experimental = grpc::experimental;

// What gRPC ends such a call with: its handlers of threads with the one, those of reactors with the
// other. No status of ours is without a message.
bool IsUnreadable(const grpc::Status& status) {
  return status.error_message().empty() && (status.error_code() == grpc::StatusCode::INTERNAL ||
                                            status.error_code() == grpc::StatusCode::UNIMPLEMENTED);
}

// Whether "/package.Service/Method" is compiled in; others are rightly UNIMPLEMENTED.
bool IsKnown(const std::string& method) {
  std::string name = method.substr(method.find('/') + 1);
  std::replace(name.begin(), name.end(), '/', '.');
  return google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name) != nullptr;
}

class Explain final : public grpc_experimental::Interceptor {
 public:
  explicit Explain(const char* method) : method_(method) {}

  void Intercept(grpc_experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc_experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      if (IsUnreadable(methods->GetSendStatus())) {
        methods->ModifySendStatus({grpc::StatusCode::INVALID_ARGUMENT,
                                   "the request is no message that " + method_ +
                                       " can read; do client and coordinator have one version?"});
      }
    }
    methods->Proceed();
  }

 private:
  const std::string method_;
};

class ExplainFactory final : public grpc_experimental::ServerInterceptorFactoryInterface {
 public:
  grpc_experimental::Interceptor* CreateServerInterceptor(
      grpc_experimental::ServerRpcInfo* info) override {
    return IsKnown(info->method()) ? new Explain(info->method()) : nullptr;
  }
};

}  // namespace

void ExplainUnreadableRequests(grpc::ServerBuilder* builder) {
  std::vector<std::unique_ptr<grpc_experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<ExplainFactory>());
  builder->experimental().SetInterceptorCreators(std::move(factories));
}

}  // namespace espalier
