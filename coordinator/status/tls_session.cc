#include "coordinator/status/tls_session.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/pem.h"

namespace espalier {
namespace {

absl::Status Refused(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", TakeOpenSslError()));
}

}  // namespace

absl::StatusOr<TlsContext> TlsContext::Create(const TlsServer& files) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr) return Refused("TLS");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  const std::vector<X509Ptr> chain = ParseCertificates(files.identity.certificates);
  if (chain.empty() || SSL_CTX_use_certificate(context.get(), chain[0].get()) != 1) {
    return Refused("--tls-cert");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) return Refused("--tls-cert");
  }
  const EvpKeyPtr key = ParsePrivateKey(files.identity.key);
  if (key == nullptr || SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return Refused("--tls-key");
  }
  if (files.client_ca.empty()) return TlsContext(std::move(context));
  for (const X509Ptr& ca : ParseCertificates(files.client_ca)) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca.get()) != 1 ||
        SSL_CTX_add_client_CA(context.get(), ca.get()) != 1) {
      return Refused("--tls-client-ca");
    }
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return TlsContext(std::move(context));
}

TlsSession::TlsSession(const TlsContext& context) : session_(SSL_new(context.get())) {
  SSL_set_bio(session_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_accept_state(session_.get());
}

void TlsSession::Feed(const char* data, size_t size) {
  BIO_write(SSL_get_rbio(session_.get()), data, static_cast<int>(size));
}

std::string TlsSession::TakeOutput() {
  BIO* const output = SSL_get_wbio(session_.get());
  std::string bytes(BIO_ctrl_pending(output), '\0');
  if (!bytes.empty()) BIO_read(output, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

ssize_t TlsSession::Read(char* data, size_t size) {
  ERR_clear_error();
  const int count = SSL_read(session_.get(), data, static_cast<int>(size));
  if (count > 0) return count;
  return SSL_get_error(session_.get(), count) == SSL_ERROR_WANT_READ ? 0 : -1;
}

bool TlsSession::Write(const char* data, size_t size) {
  ERR_clear_error();
  return size == 0 ||
         SSL_write(session_.get(), data, static_cast<int>(size)) == static_cast<int>(size);
}

bool TlsSession::HasCertificate() const {
  return SSL_get0_peer_certificate(session_.get()) != nullptr &&
         SSL_get_verify_result(session_.get()) == X509_V_OK;
}

}  // namespace espalier
