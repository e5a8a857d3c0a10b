// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random
// numbers: as easy as 1, 2, 3", SC'11).
//
// A stream is named by (seed, purpose, generation, slot), so there is no generator state to save:
// whoever recomputes a slot draws the same numbers, on any machine, in any order.
#ifndef ESPALIER_COMMON_RNG_H_
#define ESPALIER_COMMON_RNG_H_

#include <array>
#include <cstdint>
#include <vector>

namespace espalier {

// One block of Philox4x32-10: four 32-bit words from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key);

// What a stream is used for; part of the counter, so that uses never share numbers.
enum class RandomPurpose : uint32_t {
  kTest = 0,
  kMutation = 1,
  kCrossover = 2,
  kCalibrationSample = 3,
  kSearchSample = 4,
  kBaseline = 5,
  kAllocation = 6,
};

// Not thread-safe; cheap to construct.
class RandomStream {
 public:
  RandomStream(uint64_t seed, RandomPurpose purpose, uint32_t generation, uint32_t slot);

  uint32_t Next32();
  uint64_t Next64();
  // Uniform in [0, bound), unbiased. Requires bound > 0.
  uint64_t Below(uint64_t bound);
  // Uniform in [0, 1) with 53 random bits.
  double Uniform();
  // True with the given probability.
  bool Bernoulli(double probability) { return Uniform() < probability; }
  // `count` distinct elements of [0, n), ascending. Requires 0 <= count <= n.
  std::vector<int64_t> Sample(int64_t n, int64_t count);

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;  // word 0 is the block index
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace espalier

#endif  // ESPALIER_COMMON_RNG_H_
