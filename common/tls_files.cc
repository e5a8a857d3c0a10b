#include "common/tls_files.h"

#include <openssl/x509.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/pem.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

// A flag and the file it names.
struct FlagFile {
  const char* flag;
  const std::string& path;
};

absl::Status Wrong(const FlagFile& file, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(file.flag, " ", file.path, ": ", what));
}

absl::Status Incomplete(const FlagFile& given, const FlagFile& missing, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat(given.flag, " needs ", missing.flag, " as well: ", what));
}

std::string DateOf(const ASN1_TIME* time) {
  std::tm date{};
  if (ASN1_TIME_to_tm(time, &date) != 1) return "an unreadable date";
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &date);
  return text;
}

absl::StatusOr<std::vector<X509Ptr>> Certificates(const FlagFile& file, const std::string& pem) {
  std::vector<X509Ptr> certificates = ParseCertificates(pem);
  if (!certificates.empty()) return certificates;
  return Wrong(file,
               "holds no undamaged certificate in PEM form (-----BEGIN CERTIFICATE-----); "
               "`openssl x509 -in FILE -text` shows what it is");
}

absl::Status CheckDates(const FlagFile& file, const X509* certificate) {
  const ASN1_TIME* begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* end = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(end) < 0) {
    return Wrong(file, absl::StrCat("the certificate expired on ", DateOf(end),
                                    "; have a new one made, or set this machine's clock"));
  }
  if (X509_cmp_current_time(begin) > 0) {
    return Wrong(file, absl::StrCat("the certificate is valid only from ", DateOf(begin),
                                    "; have another made, or set this machine's clock"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TlsIdentity> ReadIdentity(const FlagFile& cert, const FlagFile& key,
                                         Warnings* warnings) {
  TlsIdentity identity;
  ESPALIER_ASSIGN_OR_RETURN(identity.certificates,
                            ReadFlagFile(cert.flag, cert.path, false, warnings));
  ESPALIER_ASSIGN_OR_RETURN(identity.key, ReadFlagFile(key.flag, key.path, true, warnings));
  ESPALIER_ASSIGN_OR_RETURN(const std::vector<X509Ptr> certificates,
                            Certificates(cert, identity.certificates));
  const EvpKeyPtr private_key = ParsePrivateKey(identity.key);
  if (private_key == nullptr) {
    return Wrong(key,
                 "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----) without a "
                 "passphrase");
  }
  if (X509_check_private_key(certificates[0].get(), private_key.get()) != 1) {
    TakeOpenSslError();
    return Wrong(key, absl::StrCat("this is not the key of the (first) certificate in ", cert.path,
                                   "; give the two files that were made together"));
  }
  ESPALIER_RETURN_IF_ERROR(CheckDates(cert, certificates[0].get()));
  return identity;
}

absl::StatusOr<std::string> ReadCa(const FlagFile& file, Warnings* warnings) {
  ESPALIER_ASSIGN_OR_RETURN(std::string pem, ReadFlagFile(file.flag, file.path, false, warnings));
  ESPALIER_RETURN_IF_ERROR(Certificates(file, pem).status());
  return pem;
}

}  // namespace

absl::StatusOr<std::optional<TlsServer>> ReadTlsServer(const TlsServerFiles& files,
                                                       Warnings* warnings) {
  const FlagFile cert{"--tls-cert", files.cert};
  const FlagFile key{"--tls-key", files.key};
  const FlagFile client_ca{"--tls-client-ca", files.client_ca};
  if (cert.path.empty() && key.path.empty()) {
    if (client_ca.path.empty()) return std::nullopt;
    return Incomplete(client_ca, cert, "client certificates are asked for over TLS only");
  }
  if (key.path.empty()) return Incomplete(cert, key, "the certificate's private key");
  if (cert.path.empty()) return Incomplete(key, cert, "the key's certificate");
  TlsServer server;
  ESPALIER_ASSIGN_OR_RETURN(server.identity, ReadIdentity(cert, key, warnings));
  if (!client_ca.path.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(server.client_ca, ReadCa(client_ca, warnings));
  }
  return server;
}

absl::StatusOr<std::optional<TlsClient>> ReadTlsClient(const TlsClientFiles& files,
                                                       Warnings* warnings) {
  const FlagFile ca{"--tls-ca", files.ca};
  const FlagFile cert{"--tls-cert", files.cert};
  const FlagFile key{"--tls-key", files.key};
  if (cert.path.empty() && !key.path.empty()) return Incomplete(key, cert, "the key's certificate");
  if (!cert.path.empty() && key.path.empty()) {
    return Incomplete(cert, key, "the certificate's private key");
  }
  if (ca.path.empty()) {
    if (cert.path.empty()) return std::nullopt;
    return Incomplete(cert, ca, "the certificate of the CA that the coordinator's is signed by");
  }
  TlsClient client;
  ESPALIER_ASSIGN_OR_RETURN(client.ca, ReadCa(ca, warnings));
  if (!cert.path.empty()) {
    ESPALIER_ASSIGN_OR_RETURN(client.identity, ReadIdentity(cert, key, warnings));
  }
  return client;
}

absl::StatusOr<std::string> ReadFlagFile(std::string_view flag, const std::string& path,
                                         bool secret, Warnings* warnings) {
  absl::StatusOr<std::string> contents = ReadFile(path);
  if (!contents.ok()) {
    return absl::Status(contents.status().code(),
                        absl::StrCat(std::string(flag), ": ", contents.status().message()));
  }
  struct stat info;
  if (secret && stat(path.c_str(), &info) == 0 && (info.st_mode & S_IRWXO) != 0) {
    warnings->push_back(absl::StrCat(std::string(flag), " ", path,
                                     " is a secret, but every user of this machine may use the "
                                     "file; run: chmod o-rwx ",
                                     path));
  }
  return contents;
}

}  // namespace espalier
