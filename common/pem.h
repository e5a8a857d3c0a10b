// OpenSSL's objects from PEM text.
#ifndef ESPALIER_COMMON_PEM_H_
#define ESPALIER_COMMON_PEM_H_

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

namespace espalier {

struct X509Deleter {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct EvpKeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using X509Ptr = std::unique_ptr<X509, X509Deleter>;
using EvpKeyPtr = std::unique_ptr<EVP_PKEY, EvpKeyDeleter>;

// In the text's order; empty when there is none, or when one of them is damaged.
std::vector<X509Ptr> ParseCertificates(const std::string& pem);
// Null when there is none, it is damaged, or it is encrypted (nobody is asked for a passphrase).
EvpKeyPtr ParsePrivateKey(const std::string& pem);

// The reason of the oldest error that OpenSSL has noted on this thread; forgets them all.
std::string TakeOpenSslError();

}  // namespace espalier

#endif  // ESPALIER_COMMON_PEM_H_
