// SHA-256 (OpenSSL's), incremental.
#ifndef ESPALIER_COMMON_SHA256_H_
#define ESPALIER_COMMON_SHA256_H_

#include <memory>
#include <string>
#include <string_view>

namespace espalier {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::string_view bytes);
  // Lower-case hexadecimal; call once.
  std::string HexDigest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Sha256Hex(std::string_view bytes);

}  // namespace espalier

#endif  // ESPALIER_COMMON_SHA256_H_
