#include "common/tls_probe.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/dial_address.h"
#include "common/pem.h"
#include "common/probe_socket.h"

namespace espalier {
namespace {

struct ContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, ContextDeleter>;
using SslPtr = std::unique_ptr<SSL, SslDeleter>;

// How the handshake went.
struct Handshake {
  bool answered = false;  // the other side speaks TLS
  bool served = false;    // it went on to serve this client
  bool timed_out = false;
  long verdict = X509_V_OK;  // on the coordinator's certificate
  int alert = -1;            // that the coordinator sent
  bool not_tls = false;      // the answer was something else
  bool certificate_asked = false;
};

// Authority of gRPC's own: a Unix socket is "localhost".
std::string NameOf(const DialAddress& address) {
  return address.unix_path.empty() ? address.host : "localhost";
}

ContextPtr MakeContext(const std::optional<TlsClient>& tls) {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  if (!tls.has_value()) return context;
  X509_STORE* store = SSL_CTX_get_cert_store(context.get());
  for (const X509Ptr& ca : ParseCertificates(tls->ca)) X509_STORE_add_cert(store, ca.get());
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);  // as gRPC
  // The handshake goes on after a bad certificate, so that there is something to be told of it.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  if (!tls->identity.has_value()) return context;
  const std::vector<X509Ptr> chain = ParseCertificates(tls->identity->certificates);
  const EvpKeyPtr key = ParsePrivateKey(tls->identity->key);
  for (size_t i = 0; i < chain.size(); ++i) {
    if (i == 0) SSL_CTX_use_certificate(context.get(), chain[i].get());
    if (i > 0) SSL_CTX_add1_chain_cert(context.get(), chain[i].get());
  }
  if (key != nullptr) SSL_CTX_use_PrivateKey(context.get(), key.get());
  return context;
}

// OpenSSL's callback for a server that asks for a certificate.
int NoteCertificateAsked(SSL*, void* asked) {
  *static_cast<bool*>(asked) = true;
  return 1;
}

SslPtr MakeSsl(SSL_CTX* context, const std::string& name, int fd) {
  SslPtr ssl(SSL_new(context));
  X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl.get());
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) != 1) {
    SSL_set1_host(ssl.get(), name.c_str());
    SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  }
  constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl.get(), kHttp2, sizeof(kHttp2));
  SSL_set_fd(ssl.get(), fd);
  return ssl;
}

bool IsAnswerOfNoTls(int reason) {
  return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
         reason == SSL_R_HTTP_REQUEST || reason == SSL_R_BAD_RECORD_TYPE ||
         reason == SSL_R_UNSUPPORTED_PROTOCOL;
}

void NoteError(SSL* ssl, int result, Handshake* handshake) {
  const int kind = SSL_get_error(ssl, result);
  handshake->timed_out = kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE;
  const unsigned long error = ERR_peek_error();
  if (ERR_GET_LIB(error) != ERR_LIB_SSL) return;
  const int reason = ERR_GET_REASON(error);
  // SSL3_AD_* and TLS1_AD_* are reasons from a fixed offset on.
  if (reason >= SSL_AD_REASON_OFFSET) handshake->alert = reason - SSL_AD_REASON_OFFSET;
  handshake->not_tls = IsAnswerOfNoTls(reason);
}

Handshake ShakeHands(SSL* ssl) {
  ERR_clear_error();
  Handshake handshake;
  bool asked = false;
  SSL_set_cert_cb(ssl, NoteCertificateAsked, &asked);
  int result = SSL_connect(ssl);
  // A server of TLS 1.3 looks at the client's certificate only after the client believes itself
  // connected. One that is content begins to speak: HTTP/2 settings.
  char first = 0;
  if (result == 1) result = SSL_read(ssl, &first, 1);
  handshake.served = result == 1;
  if (result != 1) NoteError(ssl, result, &handshake);
  handshake.verdict = SSL_get_verify_result(ssl);
  handshake.certificate_asked = asked;
  handshake.answered = SSL_get_current_cipher(ssl) != nullptr || handshake.alert >= 0;
  ERR_clear_error();
  return handshake;
}

std::string NamesIn(const SSL* ssl) {
  const X509* certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return "";
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::string text;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    int type = 0;
    const auto* value = static_cast<const ASN1_STRING*>(
        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type));
    if (type != GEN_DNS) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ",
                    absl::string_view(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                                      ASN1_STRING_length(value)));
  }
  GENERAL_NAMES_free(names);
  return text;
}

absl::Status Refused(const std::string& address, const std::string& why) {
  return absl::UnauthenticatedError(
      absl::StrCat("no secure connection to the coordinator at ", address, ": ", why));
}

absl::Status ExplainVerdict(const std::string& address, const std::string& name, const SSL* ssl,
                            long verdict) {
  switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: {
      const std::string names = NamesIn(ssl);
      return Refused(address, absl::StrCat("its certificate is not for the name ", name,
                                           names.empty() ? "" : " but for ", names,
                                           "; dial a name that the certificate has, or have one "
                                           "made that has this name"));
    }
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Refused(address,
                     "its certificate (or its CA's) has expired; whoever runs the coordinator must "
                     "give it a new one (--tls-cert), or this machine's clock is wrong");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Refused(address, "its certificate is not valid yet; check this machine's clock");
    default:
      return Refused(address, absl::StrCat("its certificate is not vouched for by --tls-ca (",
                                           X509_verify_cert_error_string(verdict),
                                           "); give the certificate of the CA that signed the "
                                           "coordinator's"));
  }
}

absl::Status ExplainRefusal(const std::string& address, bool has_identity,
                            const Handshake& handshake) {
  const std::string reason =
      handshake.alert >= 0 ? absl::StrCat(" (", SSL_alert_desc_string_long(handshake.alert), ")")
                           : "";
  if (!has_identity) {
    return Refused(address, absl::StrCat("it asks for a client certificate", reason,
                                         "; give one with --tls-cert and --tls-key"));
  }
  return Refused(address,
                 absl::StrCat("it does not accept the certificate of --tls-cert", reason,
                              "; give one that is signed by the coordinator's --tls-client-ca and "
                              "has not expired"));
}

}  // namespace

absl::Status ProbeTls(const std::string& address, const std::optional<TlsClient>& tls,
                      std::chrono::milliseconds timeout) {
  const std::optional<DialAddress> dialled = ParseDialAddress(address);
  if (!dialled.has_value()) return absl::OkStatus();
  const NoBrokenPipe no_signal;
  const ProbeSocket socket(*dialled, timeout);
  if (socket.fd() < 0) return absl::OkStatus();
  const ContextPtr context = MakeContext(tls);
  const SslPtr ssl = MakeSsl(context.get(), NameOf(*dialled), socket.fd());
  const Handshake handshake = ShakeHands(ssl.get());
  if (!tls.has_value()) {
    if (!handshake.answered) return absl::OkStatus();
    return Refused(address,
                   "it speaks TLS; give the certificate of its CA with --tls-ca (and "
                   "--tls-cert and --tls-key if it asks for client certificates)");
  }
  if (handshake.not_tls) {
    return Refused(address,
                   "it does not speak TLS; start it with --tls-cert and --tls-key, or leave out "
                   "--tls-ca (ESPALIER_TLS_CA)");
  }
  if (handshake.verdict != X509_V_OK) {
    return ExplainVerdict(address, NameOf(*dialled), ssl.get(), handshake.verdict);
  }
  if (handshake.served) return absl::OkStatus();
  const bool hung_up = handshake.certificate_asked && !handshake.timed_out;
  if (handshake.alert < 0 && !hung_up) return absl::OkStatus();
  return ExplainRefusal(address, tls->identity.has_value(), handshake);
}

}  // namespace espalier
