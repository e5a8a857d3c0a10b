# Imports libtorch as LibTorch::cpu (and LibTorch::cuda) from a PyPI wheel or a libtorch archive.
#
# LIBTORCH_ROOT: the folder that holds include/ and lib/ (a wheel's "torch" folder, or an unpacked
# libtorch). Default: where scripts/setup puts it.
#
# Not find_package(Torch): that one insists on a CUDA toolkit when the wheel was built with CUDA,
# although libtorch_cpu.so itself needs none of it.
set(LIBTORCH_ROOT "${CMAKE_SOURCE_DIR}/.cache/libtorch/torch" CACHE PATH
    "Folder with libtorch's include/ and lib/")

find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 PATHS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
find_path(LibTorch_HEADERS ATen/ATen.h PATHS "${LIBTORCH_ROOT}/include" NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_HEADERS
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
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_C10_LIBRARY}")
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES IMPORTED_LOCATION "${LibTorch_CPU_LIBRARY}")
  target_include_directories(LibTorch::cpu SYSTEM INTERFACE "${view}")
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::c10)
  foreach(folder IN LISTS cuda_small)
    target_link_options(LibTorch::cpu INTERFACE "-Wl,-rpath-link,${folder}")
  endforeach()

  # Only the CUDA module links these.
  find_library(LibTorch_CUDA_LIBRARY torch_cuda PATHS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda PATHS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
  if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
    add_library(LibTorch::c10_cuda SHARED IMPORTED)
    set_target_properties(LibTorch::c10_cuda PROPERTIES
                          IMPORTED_LOCATION "${LibTorch_C10_CUDA_LIBRARY}")
    add_library(LibTorch::cuda SHARED IMPORTED)
    set_target_properties(LibTorch::cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_CUDA_LIBRARY}")
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu LibTorch::c10_cuda)
  endif()
endif()
