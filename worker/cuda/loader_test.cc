#include "worker/cuda/loader.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace espalier {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Folders with modules made for this test (fake_module.cc).
const std::filesystem::path kFakes = ESPALIER_FAKE_CUDA_MODULES;

TEST(CudaModuleTest, AMissingModuleIsNotFoundWithTheFolders) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({"/nowhere/a", "/nowhere/b"});
  EXPECT_EQ(module.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(module.status().message()),
              AllOf(HasSubstr("/nowhere/a or /nowhere/b"), HasSubstr("--device cpu")));
}

TEST(CudaModuleTest, AFileThatIsNoSharedObjectIsRefusedByName) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "not_a_cuda_module";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "libespalier_cuda.so") << "not an ELF file";
  const absl::StatusOr<CudaModule> module = CudaModule::Open({folder});
  EXPECT_EQ(module.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(module.status().message()),
              HasSubstr((folder / "libespalier_cuda.so").string()));
}

TEST(CudaModuleTest, AModuleOfAnotherInterfaceIsRefused) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({kFakes / "other_interface"});
  EXPECT_EQ(module.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(module.status().message()), HasSubstr("another build"));
}

TEST(CudaModuleTest, TheFirstFolderThatHasAModuleCounts) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({"/nowhere", kFakes / "two_devices"});
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(*module->DeviceCount(), 2);
}

TEST(CudaModuleTest, DescribesADevice) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({kFakes / "two_devices"});
  ASSERT_TRUE(module.ok()) << module.status();
  const absl::StatusOr<CudaDevice> device = module->Describe(1);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(device->name, "fake device 1");
  EXPECT_EQ(device->uuid, "fake-uuid-1");
  EXPECT_EQ(device->compute, "9.0");
  EXPECT_EQ(device->total_bytes, int64_t{40} << 30);
  EXPECT_EQ(device->free_bytes, int64_t{39} << 30);
  EXPECT_EQ(*module->NcclVersion(), "2.28.3");
}

TEST(CudaModuleTest, ADeviceThatIsNotThereIsRefusedWithTheirNumber) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({kFakes / "two_devices"});
  ASSERT_TRUE(module.ok()) << module.status();
  for (const int device : {-1, 2}) {
    const absl::Status status = module->Describe(device).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("2 CUDA device(s)"));
  }
}

TEST(CudaModuleTest, ErrorsCarryTheModulesMessage) {
  const absl::StatusOr<CudaModule> module = CudaModule::Open({kFakes / "two_devices"});
  ASSERT_TRUE(module.ok()) << module.status();
  const absl::Status status = module->Synchronize(1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("device 1 fell off the bus"));
}

TEST(CudaModuleTest, LooksBesideTheProgramAndInLib) {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  const std::filesystem::path folder = program.parent_path();
  EXPECT_THAT(CudaModuleFolders(), ::testing::ElementsAre(folder, folder.parent_path() / "lib"));
}

}  // namespace
}  // namespace espalier
