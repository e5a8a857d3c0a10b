#include "common/bitmask.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

int64_t ByteCount(int64_t size) { return size / 8 + (size % 8 != 0 ? 1 : 0); }

// The bits of the last byte that belong to the mask.
uint8_t LastByteBits(int64_t size) {
  const int64_t used = size % 8;
  return used == 0 ? 0xff : static_cast<uint8_t>((1u << used) - 1);
}

// std::popcount of a word is a call of a library function where the instruction cannot be taken for
// granted.
int64_t CountBits(uint64_t word) {
  word -= (word >> 1) & 0x5555555555555555;
  word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<int64_t>((word * 0x0101010101010101) >> 56);
}

std::vector<int64_t> IndicesOf(const Bitmask& mask, bool value) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < mask.size(); ++i) {
    if (mask.Test(i) == value) indices.push_back(i);
  }
  return indices;
}

}  // namespace

Bitmask::Bitmask(int64_t size, bool value)
    : size_(size), bytes_(ByteCount(size), value ? '\xff' : '\0') {
  if (value && size > 0) bytes_.back() = static_cast<char>(LastByteBits(size));
}

Bitmask Bitmask::FromIndices(int64_t size, const std::vector<int64_t>& indices) {
  Bitmask mask(size);
  for (int64_t i : indices) mask.Set(i);
  return mask;
}

absl::StatusOr<Bitmask> Bitmask::FromBytes(int64_t size, std::string_view bytes) {
  if (size < 0 || static_cast<int64_t>(bytes.size()) != ByteCount(size)) {
    return absl::InvalidArgumentError(absl::StrCat("a mask of ", size, " bits takes ",
                                                   ByteCount(std::max<int64_t>(size, 0)),
                                                   " bytes, got ", bytes.size()));
  }
  if (size > 0 && (static_cast<uint8_t>(bytes.back()) & ~LastByteBits(size)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a bit beyond the mask's ", size, " bits is set in its last byte"));
  }
  Bitmask mask;
  mask.size_ = size;
  mask.bytes_ = std::string(bytes);
  return mask;
}

absl::StatusOr<Bitmask> Bitmask::FromHex(int64_t size, std::string_view hex) {
  if (size < 0 || static_cast<int64_t>(hex.size()) != 2 * ByteCount(size)) {
    return absl::InvalidArgumentError(absl::StrCat("a mask of ", size, " bits takes ",
                                                   2 * ByteCount(std::max<int64_t>(size, 0)),
                                                   " hexadecimal digits, got ", hex.size()));
  }
  const auto bad = std::find_if_not(hex.begin(), hex.end(), absl::ascii_isxdigit);
  if (bad != hex.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("character ", bad - hex.begin() + 1, " of the mask, \"",
                     absl::CHexEscape(std::string(1, *bad)), "\", is not a hexadecimal digit"));
  }
  return FromBytes(size, absl::HexStringToBytes(std::string(hex)));
}

void Bitmask::Set(int64_t i, bool value) {
  const uint8_t bit = static_cast<uint8_t>(1u << (i & 7));
  const uint8_t byte = static_cast<uint8_t>(bytes_[i >> 3]);
  bytes_[i >> 3] = static_cast<char>(value ? byte | bit : byte & ~bit);
}

bool Bitmask::Any() const { return bytes_.find_first_not_of('\0') != std::string::npos; }

int64_t Bitmask::Count() const {
  // By words: the coordinator counts a large model's masks for every candidate.
  constexpr size_t kWord = sizeof(uint64_t);
  int64_t count = 0;
  size_t i = 0;
  for (; i + kWord <= bytes_.size(); i += kWord) {
    uint64_t word = 0;
    std::memcpy(&word, bytes_.data() + i, kWord);
    count += CountBits(word);
  }
  for (; i < bytes_.size(); ++i) count += CountBits(static_cast<uint8_t>(bytes_[i]));
  return count;
}

std::vector<int64_t> Bitmask::Indices() const { return IndicesOf(*this, true); }

std::vector<int64_t> Bitmask::ClearIndices() const { return IndicesOf(*this, false); }

std::string Bitmask::ToHex() const { return absl::BytesToHexString(bytes_); }

}  // namespace espalier
