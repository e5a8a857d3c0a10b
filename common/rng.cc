#include "common/rng.h"

#include <set>

namespace espalier {
namespace {

// Constants of Random123's philox.h: two multipliers, two Weyl increments of the key.
constexpr uint32_t kMultiplier0 = 0xD2511F53;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;
constexpr uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

uint32_t High(uint64_t product) { return static_cast<uint32_t>(product >> 32); }
uint32_t Low(uint64_t product) { return static_cast<uint32_t>(product); }

}  // namespace

std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key) {
  std::array<uint32_t, 4> c = counter;
  uint32_t k0 = key[0];
  uint32_t k1 = key[1];
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = uint64_t{kMultiplier0} * c[0];
    const uint64_t p1 = uint64_t{kMultiplier1} * c[2];
    c = {High(p1) ^ c[1] ^ k0, Low(p1), High(p0) ^ c[3] ^ k1, Low(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, uint32_t generation, uint32_t slot)
    : key_{Low(seed), High(seed)}, counter_{0, static_cast<uint32_t>(purpose), generation, slot} {}

uint32_t RandomStream::Next32() {
  if (used_ == 4) {
    block_ = Philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t RandomStream::Next64() {
  const uint64_t low = Next32();
  return low | uint64_t{Next32()} << 32;
}

// Lemire, "Fast random integer generation in an interval", TOMACS 2019.
uint64_t RandomStream::Below(uint64_t bound) {
  using Wide = unsigned __int128;
  const uint64_t threshold = -bound % bound;  // 2^64 mod bound: the low words that would be biased
  Wide product = Wide{Next64()} * bound;
  while (static_cast<uint64_t>(product) < threshold) product = Wide{Next64()} * bound;
  return static_cast<uint64_t>(product >> 64);
}

double RandomStream::Uniform() { return static_cast<double>(Next64() >> 11) * 0x1p-53; }

// Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", CACM 1987): `count` draws,
// whatever n is.
std::vector<int64_t> RandomStream::Sample(int64_t n, int64_t count) {
  std::set<int64_t> chosen;
  for (int64_t last = n - count; last < n; ++last) {
    const int64_t candidate = static_cast<int64_t>(Below(static_cast<uint64_t>(last) + 1));
    if (!chosen.insert(candidate).second) chosen.insert(last);
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace espalier
