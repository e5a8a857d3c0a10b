#include "common/testing/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "absl/strings/str_join.h"

namespace espalier {
namespace {

// A test cannot go on without its certificates.
void Check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "certificates: cannot %s: %s\n", what, TakeOpenSslError().c_str());
  std::abort();
}

template <typename Writer>
std::string ToPem(const Writer& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  Check(write(bio) == 1, "write PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

std::string CertificatePem(X509* certificate) {
  return ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

std::string KeyPem(EVP_PKEY* key) {
  return ToPem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

X509Ptr NewCertificate(EVP_PKEY* key, const std::string& name, int first_day, int last_day) {
  X509Ptr certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  unsigned char random[8];
  RAND_bytes(random, sizeof(random));
  random[0] = 1;  // positive
  BIGNUM* serial = BN_bin2bn(random, sizeof(random), nullptr);
  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate.get()));
  BN_free(serial);
  X509_time_adj_ex(X509_getm_notBefore(certificate.get()), first_day, 0, nullptr);
  X509_time_adj_ex(X509_getm_notAfter(certificate.get()), last_day, 0, nullptr);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  Check(X509_set_pubkey(certificate.get(), key) == 1, "set the public key");
  return certificate;
}

void AddExtension(X509* certificate, int kind, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
  Check(extension != nullptr, "make an extension");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

}  // namespace

TestCa::TestCa(const std::string& name)
    : key_(EVP_EC_gen("P-256")), certificate_(NewCertificate(key_.get(), name, -10, 10)) {
  X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
  AddExtension(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(certificate_.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  Check(X509_sign(certificate_.get(), key_.get(), EVP_sha256()) > 0, "sign");
  pem_ = CertificatePem(certificate_.get());
}

TlsIdentity TestCa::Issue(const Request& request) const {
  const EvpKeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate =
      NewCertificate(key.get(), "test", request.first_day, request.last_day);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  if (!request.names.empty()) {
    AddExtension(certificate.get(), NID_subject_alt_name, absl::StrJoin(request.names, ","));
  }
  Check(X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0, "sign");
  return {.certificates = CertificatePem(certificate.get()), .key = KeyPem(key.get())};
}

std::string WriteSecret(const std::filesystem::path& path, const std::string& contents) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << contents;
  std::filesystem::permissions(
      path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  return path.string();
}

}  // namespace espalier
