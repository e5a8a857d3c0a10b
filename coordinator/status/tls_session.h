// TLS for connections that somebody else reads and writes: bytes in, bytes out.
//
// OpenSSL never sees the socket, so that deadlines, limits and the end of a connection are handled
// in one place for HTTP and HTTPS (http_connection.h).
#ifndef ESPALIER_COORDINATOR_STATUS_TLS_SESSION_H_
#define ESPALIER_COORDINATOR_STATUS_TLS_SESSION_H_

#include <openssl/ssl.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls_files.h"

namespace espalier {

// A server's side of TLS 1.2 or 1.3. With a client CA, clients may show a certificate and need not;
// one of another CA ends the handshake. Thread-safe.
class TlsContext {
 public:
  // INVALID_ARGUMENT, with OpenSSL's reason, for an identity or CA that it does not take.
  static absl::StatusOr<TlsContext> Create(const TlsServer& files);

  SSL_CTX* get() const { return context_.get(); }

 private:
  explicit TlsContext(std::shared_ptr<SSL_CTX> context) : context_(std::move(context)) {}
  std::shared_ptr<SSL_CTX> context_;
};

// One connection. Not thread-safe.
class TlsSession {
 public:
  explicit TlsSession(const TlsContext& context);

  // What came from the network, whatever it is.
  void Feed(const char* data, size_t size);
  // What is to be sent, after any of the calls below; forgets it.
  std::string TakeOutput();

  // Decrypts at most `size` bytes: their number; 0 when more must be fed first; -1 at the end.
  ssize_t Read(char* data, size_t size);
  // Encrypts all of it; false before the end of the handshake or after an error.
  bool Write(const char* data, size_t size);
  bool HasDecrypted() const { return SSL_pending(session_.get()) > 0; }
  // Whether the client has shown a certificate of the client CA.
  bool HasCertificate() const;

 private:
  struct Free {
    void operator()(SSL* session) const { SSL_free(session); }
  };
  std::unique_ptr<SSL, Free> session_;
};

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_STATUS_TLS_SESSION_H_
