#include "worker/cuda/loader.h"

#include <dlfcn.h>

#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/cuda/run.h"

namespace espalier {
namespace {

constexpr char kFileName[] = "libespalier_cuda.so";

absl::StatusOr<const EspalierCudaModule*> OpenFile(const std::filesystem::path& file) {
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot open the CUDA module ", file.string(), ": ", dlerror(),
                     ". Install the CUDA libraries that libtorch needs, or use --device cpu."));
  }
  auto entry =
      reinterpret_cast<decltype(&espalier_cuda_module)>(dlsym(handle, "espalier_cuda_module"));
  const EspalierCudaModule* table = entry == nullptr ? nullptr : entry();
  if (table == nullptr || table->interface_version != kEspalierCudaInterfaceVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.string(),
                     " belongs to another build of Espalier. Build the gpu preset "
                     "again and install both together."));
  }
  return table;
}

}  // namespace

std::vector<std::filesystem::path> CudaModuleFolders() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  const std::filesystem::path folder = program.parent_path();
  return {folder, folder.parent_path() / "lib"};
}

absl::StatusOr<CudaModule> CudaModule::Open(const std::vector<std::filesystem::path>& folders) {
  for (const std::filesystem::path& folder : folders) {
    std::error_code error;
    const std::filesystem::path file = folder / kFileName;
    if (!std::filesystem::exists(file, error)) continue;
    ESPALIER_ASSIGN_OR_RETURN(const EspalierCudaModule* table, OpenFile(file));
    return CudaModule(table);
  }
  const auto as_text = [](std::string* out, const std::filesystem::path& path) {
    out->append(path.string());
  };
  return absl::NotFoundError(
      absl::StrCat("this installation has no CUDA module: ", kFileName, " is not in ",
                   absl::StrJoin(folders, " or ", as_text),
                   ". Build the gpu preset (CMakePresets.json), or use --device cpu."));
}

absl::StatusOr<int> CudaModule::DeviceCount() const {
  int32_t count = 0;
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kFailedPrecondition, [&](char* error, size_t error_size) {
        return table_->device_count(&count, error, error_size);
      }));
  return count;
}

absl::StatusOr<CudaDevice> CudaModule::Describe(int device) const {
  ESPALIER_ASSIGN_OR_RETURN(const int count, DeviceCount());
  if (device < 0 || device >= count) {
    return absl::InvalidArgumentError(absl::StrCat("there is no device cuda:", device,
                                                   ": this machine has ", count,
                                                   " CUDA device(s), counted from 0"));
  }
  EspalierCudaDevice description{};
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kInternal, [&](char* error, size_t error_size) {
        return table_->describe_device(device, &description, error, error_size);
      }));
  return CudaDevice{
      .name = description.name,
      .uuid = description.uuid,
      .compute = absl::StrCat(description.compute_major, ".", description.compute_minor),
      .total_bytes = description.total_bytes,
      .free_bytes = description.free_bytes,
  };
}

absl::Status CudaModule::Synchronize(int device) const {
  return RunCuda(absl::StatusCode::kInternal, [&](char* error, size_t error_size) {
    return table_->synchronize(device, error, error_size);
  });
}

absl::Status CudaModule::Copy(int device, void* to, const void* from, int64_t bytes) const {
  return RunCuda(absl::StatusCode::kInternal, [&](char* error, size_t error_size) {
    return table_->copy(device, to, from, bytes, error, error_size);
  });
}

absl::Status CudaModule::FinishStream(int device) const {
  return RunCuda(absl::StatusCode::kInternal, [&](char* error, size_t error_size) {
    return table_->finish_stream(device, error, error_size);
  });
}

absl::StatusOr<std::string> CudaModule::NcclVersion() const {
  int32_t version = 0;
  ESPALIER_RETURN_IF_ERROR(
      RunCuda(absl::StatusCode::kInternal, [&](char* error, size_t error_size) {
        return table_->nccl_version(&version, error, error_size);
      }));
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace espalier
