# Imports libtorch as LibTorch::cpu (and LibTorch::cuda, where it was built with CUDA) from a PyPI
# wheel or a libtorch archive.
#
# LIBTORCH_ROOT (CMake or environment): the folder that holds include/ and lib/, i.e. a wheel's
# "torch" folder or an unpacked libtorch. Default: where scripts/setup puts it.
#
# Not find_package(Torch): that one insists on a CUDA toolkit when the wheel was built with CUDA,
# although libtorch_cpu.so itself needs none of it.
set(default_root "${CMAKE_SOURCE_DIR}/.cache/libtorch/torch")
if(NOT "$ENV{LIBTORCH_ROOT}" STREQUAL "")
  set(default_root "$ENV{LIBTORCH_ROOT}")
endif()
set(LIBTORCH_ROOT "${default_root}" CACHE PATH "Folder with libtorch's include/ and lib/")

# Searched anew each time: LIBTORCH_ROOT may have changed since the last configuration.
foreach(library torch_cpu c10 torch_cuda c10_cuda)
  unset(LibTorch_${library} CACHE)
  find_library(LibTorch_${library} ${library} PATHS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
endforeach()
unset(LibTorch_HEADERS CACHE)
find_path(LibTorch_HEADERS ATen/ATen.h PATHS "${LIBTORCH_ROOT}/include" NO_DEFAULT_PATH)

set(LibTorch_VERSION "")
foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
  if(LibTorch_HEADERS AND NOT LibTorch_VERSION AND EXISTS "${LibTorch_HEADERS}/${header}")
    file(STRINGS "${LibTorch_HEADERS}/${header}" lines REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
    string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
    list(JOIN numbers "." LibTorch_VERSION)
  endif()
endforeach()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_torch_cpu LibTorch_c10 LibTorch_HEADERS
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "Run scripts/setup, or set LIBTORCH_ROOT to a libtorch (>= 2.4).")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  # The wheel's include/ also carries google/protobuf headers that would hide the system's, so only
  # libtorch's own folders are exposed.
  set(view "${CMAKE_BINARY_DIR}/libtorch-include")
  file(MAKE_DIRECTORY "${view}")
  foreach(folder ATen c10 caffe2 torch)
    if(EXISTS "${LibTorch_HEADERS}/${folder}")
      file(CREATE_LINK "${LibTorch_HEADERS}/${folder}" "${view}/${folder}" SYMBOLIC)
    endif()
  endforeach()

  file(GLOB cuda_small "${LIBTORCH_ROOT}/../nvidia/cu*/lib" "${LIBTORCH_ROOT}/../nvidia/*/lib")

  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_c10}")
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES IMPORTED_LOCATION "${LibTorch_torch_cpu}")
  target_include_directories(LibTorch::cpu SYSTEM INTERFACE "${view}")
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::c10)
  foreach(folder IN LISTS cuda_small)
    target_link_options(LibTorch::cpu INTERFACE "-Wl,-rpath-link,${folder}")
  endforeach()

  # Only the CUDA module links these.
  if(LibTorch_torch_cuda AND LibTorch_c10_cuda)
    add_library(LibTorch::c10_cuda SHARED IMPORTED)
    set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_c10_cuda}")
    add_library(LibTorch::cuda SHARED IMPORTED)
    set_target_properties(LibTorch::cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_torch_cuda}")
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu LibTorch::c10_cuda)
  endif()
endif()
