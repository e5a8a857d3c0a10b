#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/bitmask.h"
#include "common/status_macros.h"
#include "fuzz/check.h"
#include "fuzz/targets.h"

namespace espalier::fuzz {
namespace {

// Little-endian, from the first bytes.
int64_t TakeSize(std::string_view* input) {
  uint64_t size = 0;
  const size_t bytes = std::min<size_t>(sizeof(size), input->size());
  for (size_t i = 0; i < bytes; ++i) {
    size |= static_cast<uint64_t>(static_cast<uint8_t>((*input)[i])) << (8 * i);
  }
  input->remove_prefix(bytes);
  return static_cast<int64_t>(size);
}

absl::Status CheckMask(const Bitmask& mask, int64_t size) {
  ESPALIER_RETURN_IF_ERROR(Require(mask.size() == size, "a mask has the size asked for"));
  ESPALIER_RETURN_IF_ERROR(
      Require(Bitmask::FromIndices(size, mask.Indices()) == mask, "set bits are all of a mask"));
  const auto clear = static_cast<int64_t>(mask.ClearIndices().size());
  ESPALIER_RETURN_IF_ERROR(Require(mask.Count() + clear == size, "bits are set or clear"));
  const absl::StatusOr<Bitmask> from_bytes = Bitmask::FromBytes(size, mask.bytes());
  const absl::StatusOr<Bitmask> from_hex = Bitmask::FromHex(size, mask.ToHex());
  return Require(from_bytes.ok() && *from_bytes == mask && from_hex.ok() && *from_hex == mask,
                 "a packed mask unpacks to the same");
}

}  // namespace

absl::Status BitMask(std::string_view input) {
  const int64_t size = TakeSize(&input);
  for (const auto& parse : {&Bitmask::FromBytes, &Bitmask::FromHex}) {
    const absl::StatusOr<Bitmask> mask = parse(size, input);
    if (mask.ok()) ESPALIER_RETURN_IF_ERROR(CheckMask(*mask, size));
  }
  return absl::OkStatus();
}

}  // namespace espalier::fuzz
