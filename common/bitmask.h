// A fixed-size set of bits, packed as in files and messages: bit i is bit i % 8 of byte i / 8;
// unused bits of the last byte are zero.
#ifndef ESPALIER_COMMON_BITMASK_H_
#define ESPALIER_COMMON_BITMASK_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace espalier {

class Bitmask {
 public:
  Bitmask() = default;
  // All bits equal to `value`.
  explicit Bitmask(int64_t size, bool value = false);
  static Bitmask FromIndices(int64_t size, const std::vector<int64_t>& indices);
  // INVALID_ARGUMENT when the length is not (size + 7) / 8 bytes or an unused bit is set.
  static absl::StatusOr<Bitmask> FromBytes(int64_t size, std::string_view bytes);
  // Lower- or upper-case hexadecimal of the bytes; errors as FromBytes.
  static absl::StatusOr<Bitmask> FromHex(int64_t size, std::string_view hex);

  int64_t size() const { return size_; }
  bool Test(int64_t i) const { return (bytes_[i >> 3] >> (i & 7)) & 1; }
  void Set(int64_t i, bool value = true);
  int64_t Count() const;
  bool Any() const;
  bool All() const { return Count() == size_; }
  std::vector<int64_t> Indices() const;       // of the set bits, ascending
  std::vector<int64_t> ClearIndices() const;  // of the clear bits, ascending
  const std::string& bytes() const { return bytes_; }
  std::string ToHex() const;

  friend bool operator==(const Bitmask&, const Bitmask&) = default;

 private:
  int64_t size_ = 0;
  std::string bytes_;
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_BITMASK_H_
