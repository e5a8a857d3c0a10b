// Certificate authorities and certificates for tests, made while they run.
#ifndef ESPALIER_COMMON_TESTING_CERTIFICATES_H_
#define ESPALIER_COMMON_TESTING_CERTIFICATES_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/pem.h"
#include "common/tls_files.h"

namespace espalier {

class TestCa {
 public:
  explicit TestCa(const std::string& name = "test CA");

  struct Request {
    std::vector<std::string> names = {"DNS:localhost", "IP:127.0.0.1"};  // as openssl.cnf has them
    int first_day = -1;                                                  // from today
    int last_day = 1;
  };
  TlsIdentity Issue(const Request& request) const;
  TlsIdentity Issue() const { return Issue(Request()); }
  const std::string& pem() const { return pem_; }

 private:
  EvpKeyPtr key_;
  X509Ptr certificate_;
  std::string pem_;
};

// Writes `contents` to `path` with mode 0600 and returns the path.
std::string WriteSecret(const std::filesystem::path& path, const std::string& contents);

}  // namespace espalier

#endif  // ESPALIER_COMMON_TESTING_CERTIFICATES_H_
