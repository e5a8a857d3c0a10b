#include "worker/service/device_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace espalier {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// A tree with the files that describe a machine.
class FakeSystem {
 public:
  FakeSystem()
      : root_(std::filesystem::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    Write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast CPU 3000\nflags\t: fpu\n");
    Write("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\n");
  }
  void Write(const std::filesystem::path& file, const std::string& contents) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << contents;
  }
  const std::filesystem::path& root() const { return root_; }

 private:
  const std::filesystem::path root_;
};

TEST(DeviceInfoTest, CpuWithoutAControlGroupHasAllMemory) {
  const FakeSystem system;
  const DeviceInfo cpu = DetectCpu(system.root());
  EXPECT_EQ(cpu.name, "Fast CPU 3000");
  EXPECT_EQ(cpu.memory_bytes, 1000 * 1024);
}

TEST(DeviceInfoTest, LimitOfAParentGroupCounts) {
  FakeSystem system;
  system.Write("proc/self/cgroup", "0::/a/b\n");
  system.Write("sys/fs/cgroup/a/b/memory.max", "max\n");
  system.Write("sys/fs/cgroup/a/memory.max", "4096\n");
  system.Write("sys/fs/cgroup/memory.max", "8192\n");
  EXPECT_EQ(DetectCpu(system.root()).memory_bytes, 4096);
}

TEST(DeviceInfoTest, UnderstandsVersionOneGroups) {
  FakeSystem system;
  system.Write("proc/self/cgroup", "12:cpu,cpuacct:/x\n5:memory:/docker/abc\n");
  system.Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "2048\n");
  EXPECT_EQ(DetectCpu(system.root()).memory_bytes, 2048);
}

TEST(DeviceInfoTest, LimitAboveTheMachineIsNone) {
  FakeSystem system;
  system.Write("proc/self/cgroup", "0::/\n");
  system.Write("sys/fs/cgroup/memory.max", "9223372036854771712\n");
  EXPECT_EQ(DetectCpu(system.root()).memory_bytes, 1000 * 1024);
}

TEST(DeviceInfoTest, ThisMachineHasMemory) {
  const auto cpu = DetectDevice("cpu");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_GT(cpu->memory_bytes, 0);
  EXPECT_LE(cpu->memory_bytes, sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE));
  EXPECT_FALSE(cpu->name.empty());
}

TEST(DeviceInfoTest, RefusesOtherDevices) {
  for (const char* device : {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "CPU"}) {
    const absl::Status status = DetectDevice(device).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << device;
    EXPECT_THAT(status.message(), HasSubstr("neither 'cpu' nor 'cuda:N'"));
  }
}

TEST(DeviceInfoTest, DefaultNameIsHostAndProcess) {
  EXPECT_THAT(DefaultWorkerName(), EndsWith(":" + std::to_string(getpid())));
}

}  // namespace
}  // namespace espalier
