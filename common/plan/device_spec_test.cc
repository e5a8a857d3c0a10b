#include "common/plan/device_spec.h"

#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::HasSubstr;

TEST(DeviceSpecTest, PresetsAreThePublishedPeaksTimesTheUtilisation) {
  const auto device = PresetDevice("a100-80g", 0.5);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE(device->gpu);
  EXPECT_DOUBLE_EQ(device->bfloat16_flops, 156e12);
  EXPECT_DOUBLE_EQ(device->float32_flops, 9.75e12);
  EXPECT_LT(device->memory, int64_t{80} << 30);
  EXPECT_GT(device->memory, int64_t{74} << 30);
  EXPECT_THAT(device->assumptions, HasSubstr("50%"));
  EXPECT_DOUBLE_EQ(PresetDevice("h100-80g", 1)->bfloat16_flops, 989e12);
  EXPECT_EQ(PresetDevice("a100-40g")->memory * 2, PresetDevice("a100-80g")->memory);
}

TEST(DeviceSpecTest, UnknownPresetsAreRefusedWithTheNames) {
  const auto device = PresetDevice("tpu");
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(device.status().message()), HasSubstr("a100-40g, a100-80g, h100-80g"));
}

TEST(DeviceSpecTest, WorkersShareTheMachine) {
  const DeviceSpec whole = CpuDevice(8, 64000);
  const DeviceSpec half = CpuDevice(8, 64000, 2);
  EXPECT_EQ(half.memory, 32000);
  EXPECT_EQ(half.threads, 4);
  EXPECT_DOUBLE_EQ(half.float32_flops * 2, whole.float32_flops);
  EXPECT_EQ(CpuDevice(1, 1000, 4).threads, 1);
}

TEST(DeviceSpecTest, WithoutBFloat16ProductsBothPrecisionsHaveOneRate) {
  DeviceSpec cpu = CpuDevice(8, 64000, 1, /*multiplies_bfloat16=*/false);
  EXPECT_DOUBLE_EQ(cpu.bfloat16_flops, cpu.float32_flops);
  EXPECT_DOUBLE_EQ(cpu.float32_flops, CpuDevice(8, 64000).float32_flops);
  EXPECT_LT(cpu.bfloat16_flops, CpuDevice(8, 64000).bfloat16_flops);
  SetRate(8e12, Precision::kBFloat16, &cpu);
  EXPECT_DOUBLE_EQ(cpu.float32_flops, 8e12);
}

TEST(DeviceSpecTest, AGivenRateIsThatOfTheJobsPrecision) {
  DeviceSpec cpu = CpuDevice(2, 1000);
  SetRate(8e12, Precision::kBFloat16, &cpu);
  EXPECT_DOUBLE_EQ(cpu.RateFor(Precision::kBFloat16), 8e12);
  EXPECT_DOUBLE_EQ(cpu.float32_flops, 4e12);
  EXPECT_DOUBLE_EQ(cpu.float64_flops, 2e12);
  DeviceSpec gpu = *PresetDevice("a100-80g");
  const double before = gpu.float32_flops;
  SetRate(200e12, Precision::kBFloat16, &gpu);
  EXPECT_DOUBLE_EQ(gpu.RateFor(Precision::kBFloat16), 200e12);
  EXPECT_DOUBLE_EQ(gpu.float32_flops, before);
}

TEST(DeviceSpecTest, AvailableMemoryIsReadFromTheKernelsTable) {
  std::istringstream table("MemTotal:  2048 kB\nMemFree: 5 kB\nMemAvailable:    1024 kB\n");
  EXPECT_EQ(ReadAvailableMemory(table), 1024 * 1024);
  std::istringstream nothing("MemTotal:  2048 kB\n");
  EXPECT_EQ(ReadAvailableMemory(nothing), 0);
}

TEST(DeviceSpecTest, AmountsOfMemory) {
  EXPECT_EQ(*ParseBytes("80G"), int64_t{80} << 30);
  EXPECT_EQ(*ParseBytes("1.5T"), (int64_t{3} << 40) / 2);
  EXPECT_EQ(*ParseBytes("512"), 512);
  for (const char* wrong : {"", "G", "80GB", "-1G", "0", "nan", "1e30"}) {
    const auto bytes = ParseBytes(wrong);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

}  // namespace
}  // namespace espalier
