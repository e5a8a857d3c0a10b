#include "worker/engine/cpu_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "common/rng.h"

namespace espalier {
namespace {

// Sizes that end within, at and after a vector of 16 floats.
constexpr int64_t kSizes[] = {1, 7, 16, 33, 150, 576};

std::vector<float> RandomFloats(int64_t n, double spread, uint32_t slot) {
  RandomStream random(5, RandomPurpose::kTest, 0, slot);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(spread * (2 * random.Uniform() - 1));
  return values;
}

class CpuKernelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kernels_ = CpuKernelsFor(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this processor has no " << GetParam();
  }
  const CpuKernels* kernels_ = nullptr;
};

TEST_P(CpuKernelsTest, RmsNormMatchesDoubleArithmetic) {
  for (const int64_t n : kSizes) {
    const std::vector<float> x = RandomFloats(n, 3, 1);
    const std::vector<float> weight = RandomFloats(n, 2, 2);
    std::vector<float> out(n);
    kernels_->rms_norm(x.data(), weight.data(), 1e-5f, n, out.data());
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * value;
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (int64_t i = 0; i < n; ++i) {
      const double expected = x[i] * inverse * weight[i];
      EXPECT_NEAR(out[i], expected, 2e-6 * std::abs(expected) + 1e-7);
    }
  }
}

TEST_P(CpuKernelsTest, SiluMulMatchesDoubleArithmeticAlsoInPlace) {
  for (const int64_t n : kSizes) {
    std::vector<float> gate = RandomFloats(n, 30, 3);
    gate[0] = -1000;  // exp(1000) overflows
    gate[n / 2] = 1000;
    const std::vector<float> up = RandomFloats(n, 2, 4);
    std::vector<float> out(n);
    kernels_->silu_mul(gate.data(), up.data(), n, out.data());
    for (int64_t i = 0; i < n; ++i) {
      const double expected = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
      EXPECT_NEAR(out[i], expected, 1e-6 * std::abs(expected) + 1e-30);
    }
    kernels_->silu_mul(gate.data(), up.data(), n, gate.data());
    EXPECT_EQ(gate, out);
  }
}

TEST_P(CpuKernelsTest, SoftmaxInStepsEqualsSoftmaxAtOnce) {
  const int64_t n = 300;
  std::vector<float> s = RandomFloats(n, 40, 5);
  std::vector<double> expected(n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += expected[i] = std::exp(static_cast<double>(s[i]) - 40);

  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  std::vector<float> weights = s;
  for (int64_t first = 0; first < n; first += 100) {
    const float factor = kernels_->softmax_step(weights.data() + first, 100, 100, &max, &sum);
    for (int64_t i = 0; i < first; ++i) weights[i] *= factor;
  }
  for (int64_t i = 0; i < n; ++i) {
    EXPECT_NEAR(weights[i] / sum, expected[i] / total, 3e-6 * expected[i] / total + 1e-30);
  }
}

TEST_P(CpuKernelsTest, SoftmaxStepZeroesWhatIsNotValid) {
  std::vector<float> s(64, 1.0f);
  float max = 1;
  float sum = 2;
  EXPECT_EQ(kernels_->softmax_step(s.data(), 0, 64, &max, &sum), 1.0f);
  EXPECT_EQ(s, std::vector<float>(64, 0.0f));
  EXPECT_EQ(sum, 2);
}

TEST_P(CpuKernelsTest, LogSumExpMatchesDoubleArithmetic) {
  for (const int64_t n : kSizes) {
    const std::vector<float> s = RandomFloats(n, 20, 6);
    float max = 0;
    float sum = 0;
    kernels_->log_sum_exp(s.data(), n, &max, &sum);
    double expected = 0;
    for (const float value : s) expected += std::exp(static_cast<double>(value));
    EXPECT_NEAR(std::log(static_cast<double>(sum)) + max, std::log(expected), 2e-6);
  }
}

TEST_P(CpuKernelsTest, RopeRotatesPairs) {
  for (const int64_t n : kSizes) {
    const std::vector<float> in = RandomFloats(2 * n, 2, 7);
    const std::vector<float> angles = RandomFloats(n, 3, 8);
    std::vector<float> cos(n);
    std::vector<float> sin(n);
    for (int64_t i = 0; i < n; ++i) {
      cos[i] = std::cos(angles[i]);
      sin[i] = std::sin(angles[i]);
    }
    std::vector<float> out(2 * n);
    kernels_->rope(in.data(), cos.data(), sin.data(), 0.5f, n, out.data());
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(out[i], (in[i] * cos[i] - in[n + i] * sin[i]) * 0.5, 1e-6);
      EXPECT_NEAR(out[n + i], (in[n + i] * cos[i] + in[i] * sin[i]) * 0.5, 1e-6);
    }
  }
}

TEST_P(CpuKernelsTest, BFloat16RoundsToNearestEven) {
  const std::vector<uint32_t> bits = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf80ffff,
                                      0x7f800000, 0xff800000, 0x7fc00001, 0x7f800001, 0};
  const std::vector<BFloat16Bits> expected = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf81,
                                              0x7f80, 0xff80, 0x7fc0, 0x7fc0, 0};
  std::vector<float> in(bits.size());
  std::memcpy(in.data(), bits.data(), bits.size() * 4);
  std::vector<BFloat16Bits> out(bits.size());
  kernels_->to_bfloat16(in.data(), static_cast<int64_t>(in.size()), out.data());
  EXPECT_EQ(out, expected);
  std::vector<float> back(1);
  kernels_->from_bfloat16(out.data() + 4, 1, back.data());
  EXPECT_EQ(back[0], -1.0078125f);
}

TEST_P(CpuKernelsTest, TransposeFillsMissingRowsWithZeros) {
  for (const int64_t n : kSizes) {
    std::vector<uint32_t> data(64 * n);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint32_t>(i + 1);
    std::vector<const uint32_t*> rows(60);
    for (int64_t j = 0; j < 60; ++j) rows[j] = data.data() + j * n;
    rows[3] = nullptr;
    std::vector<uint32_t> out(64 * n, 77);
    kernels_->transpose64(rows.data(), 60, n, out.data());
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = 0; j < 64; ++j) {
        const bool present = j < 60 && j != 3;
        ASSERT_EQ(out[k * 64 + j], present ? data[j * n + k] : 0u) << k << " " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuKernelsTest,
                         ::testing::Values("baseline", "avx2", "avx512"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace espalier
