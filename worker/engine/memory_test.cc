#include "worker/engine/memory.h"

#include <gtest/gtest.h>

#include <fstream>

namespace espalier {
namespace {

class AvailableMemoryTest : public ::testing::Test {
 protected:
  AvailableMemoryTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "group");
    Write("meminfo", "MemTotal: 4096 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\nHugePages: 0\n");
  }

  void Write(const std::string& name, const std::string& contents) {
    std::ofstream(folder_ / name) << contents;
  }
  int64_t Available() const { return AvailableMemory(folder_ / "meminfo", folder_ / "group"); }

  const std::filesystem::path folder_ = std::filesystem::path(::testing::TempDir()) / "memory";
};

TEST_F(AvailableMemoryTest, IsWhatTheKernelSaysWithoutALimit) {
  EXPECT_EQ(Available(), 1000 * 1024);
  Write("group/memory.max", "max\n");
  Write("group/memory.current", "5000\n");
  EXPECT_EQ(Available(), 1000 * 1024);
}

TEST_F(AvailableMemoryTest, IsWhatTheGroupLeavesAndItsPagesOfFiles) {
  Write("group/memory.max", "600000\n");
  Write("group/memory.current", "500000\n");
  EXPECT_EQ(Available(), 100000);
  Write("group/memory.stat", "anon 90000\nfile 410000\nactive_file 300000\ninactive_file 100000\n");
  EXPECT_EQ(Available(), 500000);
  Write("group/memory.max", "60000000\n");
  EXPECT_EQ(Available(), 1000 * 1024);
  Write("group/memory.max", "10000\n");  // lowered below what is taken
  EXPECT_EQ(Available(), 0);
}

TEST_F(AvailableMemoryTest, IsNothingWhereNothingIsKnown) {
  EXPECT_EQ(AvailableMemory(folder_ / "none", folder_ / "none"), 0);
}

}  // namespace
}  // namespace espalier
