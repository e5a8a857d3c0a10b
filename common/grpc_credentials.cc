#include "common/grpc_credentials.h"

#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/tls_probe.h"

namespace espalier {
namespace {

namespace grpc_experimental = grpc::experimental;

// A handshake that was refused stays refused for a while; each look is a connection.
constexpr std::chrono::seconds kBetweenLooks{2};
constexpr std::chrono::seconds kLookTimeout{1};

// gRPC's own call credentials refuse every channel without TLS, also those that cannot leave the
// machine; an interceptor does not.
class ShowToken final : public grpc_experimental::Interceptor {
 public:
  explicit ShowToken(std::string header) : header_(std::move(header)) {}

  void Intercept(grpc_experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc_experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", header_);
    }
    methods->Proceed();
  }

 private:
  const std::string header_;
};

class ShowTokenFactory final : public grpc_experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ShowTokenFactory(const std::string& token) : header_(absl::StrCat("Bearer ", token)) {}

  grpc_experimental::Interceptor* CreateClientInterceptor(
      grpc_experimental::ClientRpcInfo*) override {
    return new ShowToken(header_);
  }

 private:
  const std::string header_;
};

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(
    const std::optional<TlsClient>& tls) {
  if (!tls.has_value()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls->ca;
  if (tls->identity.has_value()) {
    options.pem_private_key = tls->identity->key;
    options.pem_cert_chain = tls->identity->certificates;
  }
  return grpc::SslCredentials(options);
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(
    const std::optional<TlsServer>& tls) {
  if (!tls.has_value()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(
      tls->client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                             : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls->client_ca;
  options.pem_key_cert_pairs.push_back({tls->identity.key, tls->identity.certificates});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ConnectionSecurity& security,
                                           const grpc::ChannelArguments& arguments) {
  const auto credentials = MakeChannelCredentials(security.tls);
  if (security.token.empty()) return grpc::CreateCustomChannel(address, credentials, arguments);
  std::vector<std::unique_ptr<grpc_experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<ShowTokenFactory>(security.token));
  return grpc_experimental::CreateCustomChannelWithInterceptors(address, credentials, arguments,
                                                                std::move(interceptors));
}

absl::Status ConnectionDoctor::Examine(grpc::Channel& channel) {
  if (channel.GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE) return absl::OkStatus();
  if (std::chrono::steady_clock::now() < next_) return absl::OkStatus();
  absl::Status verdict = ProbeTls(address_, security_.tls, kLookTimeout);
  next_ = std::chrono::steady_clock::now() + kBetweenLooks;
  return verdict;
}

}  // namespace espalier
